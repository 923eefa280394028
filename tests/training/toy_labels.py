"""Rows whose label any model can learn: it follows from each of several words."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = {"weather": ["rain", "snow", "fog", "thunder"], "kitchen": ["soup", "oven", "kettle", "spoon"]}
FILLERS = ["yesterday", "on Monday", "again", "at noon", "for hours", "by the river", "all week", "with friends"]


def write_toy_rows(path: Path, count: int, *, seed: int = 0) -> Path:
    """Write ``count`` rows with ``text`` and ``label``, the same for the same seed."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        label = ("weather", "kitchen")[number % 2]
        words = " and ".join(draw.sample(WORDS[label], draw.randint(2, 4)))
        text = f"{number}: the {words} {' '.join(draw.sample(FILLERS, draw.randint(0, 2)))}".strip()
        rows.append({"text": text, "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
