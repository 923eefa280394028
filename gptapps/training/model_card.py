"""The README.md of a trained folder: what it is, how good it is, and how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gptapps.evaluation.tables import digits_of, interval_text
from gptapps.metrics.score import Score
from gptapps.task_definition import TaskDefinition
from gptapps.training.curves import curve_lines
from gptapps.training.report import FinetuneReport

_METHODS: Mapping[str, str] = {
    "head": "a head on the frozen model's hidden states",
    "lora": "low-rank changes of the model's weights (LoRA)",
    "full": "all of the model's weights",
    "prompt": "learned virtual tokens in front of every prompt",
}


def model_card(
    report: FinetuneReport, definition: TaskDefinition, data: Mapping[str, Any], versions: Mapping[str, str]
) -> str:
    """Return the card as Markdown.

    Args:
        report: of the training.
        definition: of the task as the model does it.
        data: what ``data.json`` says.
        versions: name -> version of the libraries.
    """
    return "\n".join(_lines(report, definition, data, versions)) + "\n"


def _learned(report: FinetuneReport, definition: TaskDefinition) -> str:
    learned = _METHODS.get(report.method, report.method)
    if report.method == "lora" and definition.head == "span":
        learned += " together with a head that finds answers in a context; it writes nothing"
    return learned


def _chosen_by(report: FinetuneReport) -> str:
    if not report.details.get("evaluations"):
        return ""
    return ", some or all of which said which weights to keep, so that the numbers are rather too good"


def _lines(
    report: FinetuneReport, definition: TaskDefinition, data: Mapping[str, Any], versions: Mapping[str, str]
) -> Iterator[str]:
    yield f"# {definition.id}: {definition.summary}"
    yield ""
    yield f"Trained by gptapps on `{report.model}`: {_learned(report, definition)}."
    if definition.labels:
        yield f"Labels: {', '.join(definition.labels)}."
    yield ""
    yield "```python"
    yield "from gptapps import pipeline"
    yield ""
    yield f'task = pipeline("{definition.id}", model="path/of/this/folder")'
    yield "```"
    yield ""
    yield "## How good it is"
    yield ""
    if report.scores:
        yield f"On {report.examples['validation']:,} validation examples it never learned from{_chosen_by(report)}:"
        yield ""
        yield from _score_table(report.scores, report.measured.baselines or {})
    elif not report.rounds:
        yield "There were no examples set aside to measure it on."
    if report.rounds:
        yield from [""] if report.scores else []
        yield f"Over {report.rounds_name}, each trained anew and measured on what it didn't see:"
        yield ""
        beside = report.baselines_alone
        yield "| metric | mean | 95 % interval | standard deviation | each |" + "".join(
            f" {name.replace('_', ' ')} |" for name in beside
        )
        yield "|---|---|---|---|---|" + "---|" * len(beside)
        for one in report.spreads:
            digits = digits_of(one.mean)
            each = ", ".join(f"{value:.{digits}f}" for value in one.values)
            interval = "" if one.low is None or one.high is None else f"{one.low:.{digits}f} to {one.high:.{digits}f}"
            cells = "".join(f" {scores.get(one.name, '')} |" for scores in beside.values())
            yield f"| {one.name} | {one.mean:.{digits}f} | {interval} | {one.deviation:.{digits}f} | {each} |{cells}"
        yield ""
        yield report.meaning
    yield ""
    yield "Other texts than those it was measured on may do worse. `metrics.json` has every number."
    yield ""
    yield "## What it learned from"
    yield ""
    yield "| data | rows | SHA-256 |"
    yield "|---|---|---|"
    for name, one in data["checksums"].items():
        yield f"| {name}: {one['name']} | {one['rows']:,} | `{one['sha256']}` |"
    yield ""
    yield f"{report.examples['train']:,} examples trained. `data.json` says how the rows were read."
    if "evaluations" in report.details:
        yield ""
        yield "## How it learned"
        yield ""
        yield from curve_lines(report.details["evaluations"], report.details["best"])
        yield ""
        yield "`curves.json` has every update, `logs/` the same for TensorBoard."
    chosen = {
        name: value for name, value in report.details.items() if not isinstance(value, list | dict) or _short(value)
    }
    if chosen:
        yield ""
        yield "## How it was trained"
        yield ""
        yield from (f"- {name.replace('_', ' ')}: {_said(value)}" for name, value in chosen.items())
    yield ""
    yield f"Signature {report.signature}; " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def _score_table(scores: Sequence[Score], baselines: Mapping[str, Sequence[Score]]) -> Iterator[str]:
    names = list(baselines)
    yield "| metric | value with 95 % interval |" + "".join(f" {name.replace('_', ' ')} |" for name in names)
    yield "|---|---|" + "---|" * len(names)
    for score in scores:
        beside = [next((one for one in baselines[name] if one.name == score.name), None) for name in names]
        cells = [_cell(score), *("" if one is None else _cell(one) for one in beside)]
        yield f"| {score.name} | " + " | ".join(cells) + " |"


def _cell(score: Score) -> str:
    return interval_text(score.value, score.low, score.high)


def _short(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 8 and all(isinstance(one, str | int | float) for one in value)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
