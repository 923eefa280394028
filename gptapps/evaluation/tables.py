"""Tables of plain text, for a terminal and for a file alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from gptapps.metrics.score import Score

_SMALL = 10.0  # values below it are shown with three decimals, others with two
_GAP = "  "


def score_table(rows: Sequence[tuple[str, Sequence[Score], Mapping[str, Sequence[Score]]]], model: str) -> str:
    """Return a table with a line for each metric of each row: the model's value, the baselines' beside it.

    Args:
        rows: what was evaluated, the model's scores, and baseline -> its scores.
        model: what stands above the model's column.

    Example:
        >>> score = Score("accuracy", 0.75, 0.5, 1.0, 8, "", True)
        >>> print(score_table([("sst2", [score], {})], "tiny"))
        data  metric    n  tiny
        sst2  accuracy  8  0.750 [0.500, 1.000]
    """
    most = max((len(baselines) for _, _, baselines in rows), default=0)
    lines = [["data", "metric", "n", model, *["baseline"] * most]]
    for what, scores, baselines in rows:
        for position, score in enumerate(scores):
            found = {name: _find(others, score.name) for name, others in baselines.items()}
            beside = [f"{_cell(one)} {name.replace('_', ' ')}" for name, one in found.items() if one is not None]
            cells = [_cell(score), *beside, *[""] * (most - len(beside))]
            lines.append(["" if position else what, score.name, str(score.n), *cells])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text in columns.

    Example:
        >>> print(aligned([["a", "b"], ["long", "c"]]))
        a     b
        long  c
    """
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    padded = [
        _GAP.join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return "\n".join(line.rstrip() for line in padded)


def _find(scores: Sequence[Score], name: str) -> Score | None:
    return next((score for score in scores if score.name == name), None)


def interval_text(
    value: float, low: float | None, high: float | None, *, digits: int | None = None, signed: bool = False
) -> str:
    """Return a value with its interval.

    Args:
        value: of a metric, or a difference between two.
        low, high: bounds; None for no interval.
        digits: decimals; by default three below 10 and two above.
        signed: whether positive numbers get a sign, too.

    Example:
        >>> interval_text(0.05, -0.01, 0.11, signed=True)
        '+0.050 [-0.010, +0.110]'
    """
    form = f"{'+' if signed else ''}.{digits_of(value) if digits is None else digits}f"
    return f"{value:{form}}" if low is None or high is None else f"{value:{form}} [{low:{form}}, {high:{form}}]"


def digits_of(value: float) -> int:
    """Return how many decimals a metric's value is shown with."""
    return 3 if abs(value) < _SMALL else 2


def _cell(score: Score) -> str:
    return interval_text(score.value, score.low, score.high)


def _width(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)
