"""What both sides read."""

from __future__ import annotations

STARTUP_TEXT = (
    "The small harbour of Saltmere wakes before the sun. By four in the morning the first boats are out, following "
    "lights that the old keeper still checks by hand every evening. For sixty years the town lived from herring, and "
    "when the herring left, most of the young people left with them. Those who stayed learned to do several things at "
    "once. The baker repairs nets in winter, the teacher pilots the ferry on weekends, and the two sisters who own the "
    "only hotel also run a workshop where visitors build wooden dinghies. Last spring the council voted to turn the "
    "empty cannery into a school for boat builders. Nobody expected many applications, yet more than two hundred "
    "people wrote, some of them from other continents. The first course starts in October, and the town is now looking "
    "for rooms, stoves and blankets, because the winter is long and windy."
)
"""150 words; no digits, which transformers' GGUF reader splits otherwise than the model was trained."""

PARAGRAPHS = (
    "The night train from Brenn to the coast carries more bicycles than passengers these days. Conductors have learned "
    "to tie them down with rope, and the dining car now sells inner tubes next to the coffee. On Sundays the line runs "
    "a second train that stops at every village with a bakery.",
    "A beekeeper on the southern slope noticed that her bees returned an hour earlier than usual. She wrote it down, "
    "as she had written down everything for thirty years, and sent the notebook to the university. The answer took "
    "four months and filled two pages, most of them questions about the weather.",
    "When the library moved into the old power station, the architects kept the great crane under the roof. It no "
    "longer lifts turbines. Twice a year it lowers a stage into the reading hall, and the town orchestra plays there "
    "while the books on the upper floors tremble a little with the drums.",
    "The cook had one rule for soup: nothing may be added after noon. Whoever came late to the kitchen found the pots "
    "closed and the knives washed. Apprentices thought it was superstition, until the summer she was away and the "
    "guests began to ask, politely at first, what had happened to the broth.",
    "Repairing the tower clock took longer than building it. Three firms looked at the broken wheel and shook their "
    "heads; the fourth found a drawing in the attic of the town hall. It showed a part that nobody had seen in a "
    "hundred years, and beside it, in pencil, the name of the smith who could make it.",
    "The river changes its bed after every flood, so the map in the ranger station is made of cloth and pins. Each "
    "spring two volunteers walk the banks and move the blue thread. Children are allowed to help, and most of them "
    "remember the river as something that can be carried under one arm.",
    "Her first lecture was about glass, and she began by breaking a cup. The students in the front row jumped, those "
    "in the back laughed, and everyone looked at the pieces. Why did it break into these shapes and no others? For the "
    "rest of the hour she drew cracks on the board and let them guess.",
    "No one on the island owns a car, yet there are four petrol stations. They sell fuel to fishing boats, ice to the "
    "fish market and newspapers to everybody. The oldest of them has a bench with a view of the lighthouse, where "
    "matters of some weight are settled before the council hears of them.",
)
"""Eight texts of about sixty tokens each, of different lengths."""
