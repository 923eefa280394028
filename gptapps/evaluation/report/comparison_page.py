"""A comparison of runs as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptapps.evaluation.comparison import ChangedExample, Comparison, MetricComparison, p_text
from gptapps.evaluation.report.cards import PredictionView, prediction_view, score_texts
from gptapps.evaluation.report.numbers import Cell, cell, score_rows
from gptapps.evaluation.report.page import page_of, write_page
from gptapps.evaluation.report.prompts import SharedPrompt
from gptapps.evaluation.tables import digits_of, interval_text


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in one metric; the first run has no difference."""

    name: str
    value: Cell
    difference: Cell | None = None
    bootstrap_p: str = ""
    randomization_p: str = ""
    counts: str = ""


@dataclass(frozen=True, slots=True)
class MetricTable:
    """All runs in one metric; ``zero`` is the place of no difference on the scale of differences."""

    name: str
    higher_is_better: bool
    zero: float
    rows: tuple[RunRow, ...]


@dataclass(frozen=True, slots=True)
class ChangedCard:
    """An example as it is shown: its prompts with the names of the runs they are of, gold, and (run, view, scores)."""

    index: int
    id: str | None
    prompts: tuple[tuple[str, str], ...]
    gold: tuple[str, ...]
    predictions: tuple[tuple[str, PredictionView, tuple[tuple[str, str], ...]], ...]


def write_comparison(comparison: Comparison, target: str | Path) -> Path:
    """Write a comparison as a page, and return its path.

    Raises:
        ResourceError: it can't be written.
    """
    path = Path(target)
    write_page(path, comparison_page(comparison))
    return path


def comparison_page(comparison: Comparison) -> str:
    """Return a comparison's page."""
    names = [run.name for run in comparison.runs]
    shared = [
        SharedPrompt.of([example.prompts[place] for example in comparison.changed]) for place in range(len(names))
    ]
    one_for_all = all(len(set(example.prompts)) == 1 for example in comparison.changed)
    named = [(shared[0], "")] if one_for_all else list(zip(shared, names, strict=True))
    cards = [_card(example, names, shared, one_for_all) for example in comparison.changed]
    return page_of(
        "comparison.html.j2",
        {
            "comparison": comparison,
            "names": names,
            "headline": _headline(comparison),
            "metrics": [_table(metric, names) for metric in comparison.metrics],
            "shared_prompts": [(one, name) for one, name in named if one.before or one.after],
            "cards": cards,
            "marked": any(view.is_marked for card in cards for _, view, _ in card.predictions),
        },
    )


def _headline(comparison: Comparison) -> str:
    metric = comparison.metrics[0]
    said = []
    for run, difference in zip(comparison.runs[1:], metric.differences, strict=True):
        paired = difference.paired
        interval = interval_text(
            paired.value, paired.low, paired.high, digits=digits_of(metric.scores[0].value), signed=True
        )
        p = p_text(paired.randomization_p)
        name = metric.name.replace("_", " ")
        said.append(f"{run.name} against {comparison.runs[0].name}: {name} {interval}{f', p = {p}' if p else ''}")
    return f"{'; '.join(said)}.".replace("p = <", "p < ").replace(" -", " −").replace("[-", "[−")


def _table(metric: MetricComparison, names: Sequence[str]) -> MetricTable:
    (row,) = score_rows(metric.scores[:1], [[score] for score in metric.scores[1:]])
    values = [value for value in row.cells if value is not None]
    paired = [difference.paired for difference in metric.differences]
    bounds = [bound for one in paired for bound in (one.value, one.low, one.high) if bound is not None]
    largest = max((abs(bound) for bound in bounds if np.isfinite(bound)), default=0.0) or 1.0
    scale = (-1.04 * largest, 1.04 * largest)
    rows = [RunRow(names[0], values[0])]
    for name, value, difference in zip(names[1:], values[1:], metric.differences, strict=True):
        one = difference.paired
        digits = digits_of(metric.scores[0].value)
        apart = cell(one.value, one.low, one.high, scale, digits=digits, signed=True)
        counts = f"{difference.better} / {difference.worse} / {difference.same}"
        rows.append(RunRow(name, value, apart, p_text(one.bootstrap_p), p_text(one.randomization_p), counts))
    return MetricTable(metric.name.replace("_", " "), metric.scores[0].higher_is_better, 50.0, tuple(rows))


def _card(
    example: ChangedExample, names: Sequence[str], shared: Sequence[SharedPrompt], one_for_all: bool
) -> ChangedCard:
    own = [one.own(prompt) for one, prompt in zip(shared, example.prompts, strict=True)]
    same = one_for_all or len(set(own)) == 1
    prompts = [(own[0], "")] if same else list(zip(own, names, strict=True))
    gold = (example.gold,) if isinstance(example.gold, str) else example.gold or ()
    views = (prediction_view(prediction, example.gold) for prediction in example.predictions)
    predictions = zip(names, views, map(score_texts, example.scores), strict=True)
    return ChangedCard(example.index, example.id, tuple(prompts), gold, tuple(predictions))
