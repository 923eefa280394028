"""A small text with a grammar, which a tiny model learns in seconds, and the options of such a model."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

_PARTS = (
    ("The baker", "A sailor", "My aunt", "The old clerk", "Our neighbour"),
    ("carries", "mends", "paints", "sells", "forgets"),
    ("a red kite", "the heavy door", "two green lamps", "an empty basket"),
    ("by the river", "in the morning", "behind the mill", "before the rain"),
)

TINY: dict[str, Any] = {
    "layers": 2,
    "heads": 2,
    "channels": 32,
    "context": 32,
    "vocabulary_size": 320,
    "learning_rate": 1e-2,
    "tokens_per_update": 512,
    "evaluations": 2,
    "sample_tokens": 8,
    "device": "cpu",
}


_COUNTED = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def write_counting(path: Path, words: int = 4000) -> Path:
    """Write a text that counts from one to twelve, over and over, and now and then loses the thread."""
    draw = random.Random(0)
    said, number = [], 0
    for _ in range(words):
        number = draw.randrange(12) if draw.random() < 0.03 else number + 1
        said.append(_COUNTED[number % 12])
    path.write_text(" ".join(said), encoding="utf-8")
    return path


def write_text(path: Path, sentences: int = 400) -> Path:
    """Write a text of so many sentences, a line each."""
    draw = random.Random(0)
    lines = (" ".join(draw.choice(part) for part in _PARTS) for _ in range(sentences))
    path.write_text("".join(f"{line}.\n" for line in lines), encoding="utf-8")
    return path
