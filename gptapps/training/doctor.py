"""The data doctor: all that is wrong with training data, found before a model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from gptapps.datasets import HUB_PREFIX, format_of
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError
from gptapps.evaluation.selection import Source
from gptapps.model_store import Progress
from gptapps.training.data import DataPlan, assembled, checked_parts, rows_of, validation_data
from gptapps.training.encodings import encoding_of
from gptapps.training.findings import Diagnosis, Finding, in_order
from gptapps.training.identity import identities
from gptapps.training.label_checks import label_findings
from gptapps.training.length_checks import length_findings
from gptapps.training.outline import outlined_model
from gptapps.training.overlap_checks import leak_findings, repetition_findings
from gptapps.training.reading import Part, TrainingRows
from gptapps.training.row_checks import row_findings, text_findings


def diagnose(
    plan: DataPlan,
    *,
    model: str | LanguageModel | None = None,
    limit: int | None = None,
    revision: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Diagnosis:
    """Examine the data that a task is to be learned from.

    Nothing of a model is read but its tokenizer and its configuration, and those only where the data is healthy
    otherwise.

    Args:
        plan: which data, and how it is read.
        model: the model that is to learn, by name or loaded; None leaves out what needs its tokenizer, which is what
            doesn't fit.
        limit: the most tokens of prompt and target together; by default what the model holds.
        revision, offline, progress: of the model, as :func:`gptapps.training.outline.outlined_model` takes them.

    Returns:
        What was found, and the training data where nothing of it is fatal.

    Raises:
        OptionError: an option that makes no sense, or too little data to split.
        UnknownNameError: no such task.
        ModelError: the model can't be found, fetched or read.

    Example:
        >>> diagnosis = diagnose(DataPlan(task="sentiment", train="reviews.csv"))        # doctest: +SKIP
        >>> print(diagnosis.table)                                                       # doctest: +SKIP
        >>> data = diagnosis.require()                                                   # doctest: +SKIP
    """
    rows = rows_of(plan)
    sources, findings = _read(plan, rows)
    if findings:
        return Diagnosis(in_order(findings), None)
    train, validation = sources["train"], sources.get("validation")
    if validation is not None and validation.sha256 == train.sha256:
        what = "it is the same data as that to learn from"
        remedy = "name other data, or a share of it such as 0.1"
        return Diagnosis((Finding("fatal", "same_data", what, remedy, str(plan.validation)),), None)
    labels = rows.labels(train)
    parts = checked_parts(plan, rows, labels, train, validation)
    findings = [*_examine(rows, labels, parts)]
    if any(finding.severity == "fatal" for finding in findings):
        return Diagnosis(in_order(findings), None)
    data = assembled(plan, rows, labels, parts)
    if model is not None:
        if isinstance(model, LanguageModel):
            outlined = replace(model, packaged=None)  # as with an outline, what it is able to do is not asked
        else:
            outlined = outlined_model(model, revision=revision, offline=offline, progress=progress)
        findings += length_findings(data, outlined, limit)
    healthy = all(finding.severity == "warning" for finding in findings)
    return Diagnosis(in_order(findings), data if healthy else None)


def _read(plan: DataPlan, rows: TrainingRows) -> tuple[Mapping[str, Source], list[Finding]]:
    named = {"train": plan.train, "validation": validation_data(plan)}
    sources, findings = {}, []
    for name, data in named.items():
        if data is not None:
            try:
                sources[name] = rows.read(data)
            except DataError as error:
                findings.append(_unreadable(str(data), error))
    return sources, findings


def _unreadable(data: str, error: DataError) -> Finding:
    path = Path(data)
    if not data.startswith(HUB_PREFIX) and path.is_file() and format_of(path) != "parquet":
        encoding = encoding_of(path)
        if encoding is not None:
            what = f"its encoding is no UTF-8, but by the look of it {encoding}"
            other = path.with_stem(f"{path.stem}-utf8")
            remedy = f"convert it with `iconv -f {encoding} -t UTF-8 {path} > {other}`"
            return Finding("fatal", "wrong_encoding", what, remedy, data)
    what, _, remedy = str(error).removesuffix(".").rpartition(": ")
    return Finding("fatal", "unreadable", what or str(error), remedy or "give other data")


def _examine(rows: TrainingRows, labels: tuple[str, ...], parts: Mapping[str, Part]) -> Iterator[Finding]:
    for part in parts.values():
        yield from row_findings(rows, part)
        yield from text_findings(rows, part.items)
        yield from repetition_findings(rows.evaluator, part.items, identities(part.items, rows.evaluator))
    yield from label_findings(rows, labels, parts["train"])
    if "validation" in parts:
        yield from leak_findings(rows.evaluator, parts["train"].items, parts["validation"].items)
