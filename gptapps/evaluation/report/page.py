"""``report.html``: a run as one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from gptapps.cache_files import durable
from gptapps.errors import ResourceError
from gptapps.evaluation.counted_labels import counted_labels
from gptapps.evaluation.recorded import RecordedRun, read_run
from gptapps.evaluation.report.cards import Card, prediction_view, score_texts, worst_and_best
from gptapps.evaluation.report.numbers import (
    by_length,
    calibration_gap,
    input_length,
    reliability,
    score_rows,
)
from gptapps.evaluation.report.plots import LengthBin, length_plot, reliability_diagram
from gptapps.evaluation.report.prompts import SharedPrompt
from gptapps.evaluation.run_folder import Finished
from gptapps.evaluation.tables import interval_text
from gptapps.metrics.confusion import ConfusionMatrix
from gptapps.metrics.score import installed_version
from gptapps.registry import METRICS

PAGE = "report.html"

_SHOWN_EXAMPLES = 5


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a finished run, and return its path.

    Raises:
        DataError: the folder holds no finished run.
        UnknownNameError: a metric of the run isn't installed.
        ResourceError: the folder can't be written.
    """
    target = Path(folder) / PAGE
    write_page(target, run_page(read_run(folder)))
    return target


def write_page(target: Path, page: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        ResourceError: it can't be written.
    """
    try:
        with durable(target) as file:
            file.write(page.encode("utf-8", "replace"))  # half a surrogate pair is no text for a browser
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ResourceError(f"{target} can't be written ({reason}): make room, or name another file.") from error


def run_page(run: RecordedRun) -> str:
    """Return a run's page.

    Args:
        run: a finished one.
    """
    shared = SharedPrompt.of([example.prompt for example in run.examples])
    worst, best = worst_and_best(run.examples, run.scores, _SHOWN_EXAMPLES)
    sides = [
        (title, [_card(example, shared) for example in examples])
        for title, examples in (("Worst", worst), ("Best", best))
        if examples
    ]
    return page_of(
        "run.html.j2",
        {
            "run": run,
            "created": str(run.manifest["created"]).replace("T", " ").removesuffix("+00:00"),
            "headline": _headline(run),
            "columns": [run.model, *(name.replace("_", " ") for name in run.baselines)],
            "rows": score_rows(run.scores, list(run.baselines.values())),
            "counts": _counts(run.report["counts"]),
            "confusion": _confusion(run),
            "reliability": _reliability(run),
            "length": _length(run),
            "shared": shared,
            "sides": sides,
            "marked": any(card.prediction.is_marked for _, cards in sides for card in cards),
            "manifest": list(leaves(run.manifest)),
        },
    )


def page_of(template: str, content: Mapping[str, Any]) -> str:
    """Return a page made of a template of this package; all that comes from elsewhere is escaped."""
    return _templates().get_template(template).render(version=installed_version("gptapps"), **content)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) pairs of nested values."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, _plain_text(value)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _plain_text(value: Any) -> str:
    if value is None or value in ({}, [], ""):
        return "–"
    if isinstance(value, list) and not any(isinstance(item, Mapping | list) for item in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _confusion(run: RecordedRun) -> ConfusionMatrix | None:
    golds = [example.gold for example in run.examples]
    return counted_labels(run.outputs, golds, run.manifest["options"].get("labels"), seed=run.seed)


def _headline(run: RecordedRun) -> str:
    score = run.scores[0]
    name = score.name.replace("_", " ")
    examples = f"{score.n:,} {'example' if score.n == 1 else 'examples'}"
    said = f"{run.model} has {name} {interval_text(score.value, score.low, score.high)} over {examples}"
    beside = [(name, one) for name, scores in run.baselines.items() for one in scores if one.name == score.name]
    if not beside:
        return f"{said}."
    sign = 1 if score.higher_is_better else -1
    name, best = max(beside, key=lambda pair: sign * pair[1].value)
    return f"{said}; the best baseline, {name.replace('_', ' ')}, {interval_text(best.value, best.low, best.high)}."


def _counts(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    rare = ("dropped_tokens", "truncated", "chunked")
    kept = ((name, value) for name, value in counts.items() if value or name not in rare)
    return [(name.replace("_", " "), f"{value:,}") for name, value in kept]


def _reliability(run: RecordedRun) -> dict[str, Any] | None:
    bins = reliability(run)
    if not bins:
        return None
    gap = calibration_gap(bins)
    filled = [one for one in bins if one.count]
    description = f"Accuracy against confidence in {len(filled)} bins; the expected calibration error is {gap:.3f}."
    return {"plot": reliability_diagram(bins, description), "gap": gap, "bins": filled}


def _length(run: RecordedRun) -> dict[str, Any] | None:
    name = run.scores[0].name
    own = [(input_length(example), example.scores.get(name)) for example in run.examples]
    pairs = [(length, value) for length, value in own if value is not None]
    if len({length for length, _ in pairs}) < 2:
        return None
    bins = by_length(run, METRICS.get(name))
    lengths, values = [length for length, _ in pairs], [value for _, value in pairs]
    plot = length_plot(lengths, values, bins, name, _length_description(name, bins))
    return {"plot": plot, "bins": bins, "metric": name.replace("_", " "), "cells": [_bin_text(one) for one in bins]}


def _length_description(name: str, bins: Sequence[LengthBin]) -> str:
    stated = "; ".join(f"{one.shortest} to {one.longest} tokens: {_bin_text(one)}" for one in bins)
    return f"{name.replace('_', ' ')} by input length. {stated}."


def _bin_text(one: LengthBin) -> str:
    return interval_text(one.value, one.low, one.high)


def _card(example: Finished, shared: SharedPrompt) -> Card:
    view = prediction_view(example.prediction, example.gold)
    return Card(example.index, example.id, shared.own(example.prompt), score_texts(example.scores), view)
