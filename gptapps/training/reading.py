"""Rows as a task's examples, each with its gold; what is wrong with a row is kept and not raised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gptapps.datasets import Row, with_columns
from gptapps.errors import DataError, OptionError
from gptapps.evaluation.evaluators import Evaluator, evaluator_for
from gptapps.evaluation.plan import example_of
from gptapps.evaluation.selection import Item, RowChecker, Source, checked_reading, read_source
from gptapps.pipelines.base import Pipeline
from gptapps.registry import PIPELINES, suggestion
from gptapps.task_catalog import resolve_task

FaultKind = Literal["missing", "empty", "unknown_label", "unusable"]

_FEWEST_LABELS = 2
_MOST_SHOWN = 8  # labels in a message


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row is no example to learn from.

    Attributes:
        kind: ``missing``: a column that it needs isn't there; ``empty``: there, but without text; ``unknown_label``;
            ``unusable``: anything else.
        where: file and line.
        column: of the data; None where it is about the whole row.
        what: a clause that says it.
    """

    kind: FaultKind
    where: str
    column: str | None
    what: str


@dataclass(frozen=True, slots=True)
class Part:
    """One file, or one hub data set, that was read and checked.

    Attributes:
        source: the data.
        items: the rows that are examples.
        faults: one for each row that is none.
        columns: of all its rows, in the order they come.
    """

    source: Source
    items: tuple[Item, ...]
    faults: tuple[Fault, ...]
    columns: tuple[str, ...]


class TrainingRows:
    """Reads the data of one task.

    Args:
        task: name, alias or path of a definition.
        columns, where, label_names: as :func:`gptapps.evaluate` has them.
        options: of the pipeline's calls.

    Raises:
        UnknownNameError: no such task.
        OptionError: an option or a column that the task doesn't have, or examples without anything to learn.

    Attributes:
        definition: the task.
        kind: its pipeline.
        evaluator: of its family.
        reading: how rows become examples.
        options: the task's defaults with ``options`` over them.
    """

    def __init__(
        self,
        task: str,
        *,
        columns: Mapping[str, str] | None = None,
        where: Mapping[str, str] | None = None,
        label_names: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.definition = resolve_task(task)
        self.kind: type[Pipeline[Any, Any]] = PIPELINES.get(self.definition.pipeline)
        self.kind.require_head(self.definition)
        self.evaluator = _evaluator(self.definition.id, self.kind)
        self.reading = checked_reading(columns, where, label_names, None, self.evaluator)
        self.options = self.kind.merged_options(self.definition, options or {})
        self._required = [name for name, one in self.evaluator.example_type.model_fields.items() if one.is_required()]

    @property
    def has_labels(self) -> bool:
        """Whether examples are labelled from one set of labels, with one of them or several."""
        return self.evaluator.gold_field == "label"

    def read(self, data: str | Path) -> Source:
        """Read a file or a hub data set; values that say nothing are left out.

        Raises:
            DataError: it can't be read, or no row has what ``where`` asks for.
        """
        source = read_source(data, self.reading)
        return Source(source.name, source.sha256, tuple((number, _without_nulls(row)) for number, row in source.rows))

    def labels(self, source: Source) -> tuple[str, ...]:
        """Return the labels of the options, of the task, of ``label_names``, or else those of the data, sorted."""
        if not self.has_labels:
            return ()
        if given := self.options.get("labels"):
            return tuple(given)
        if self.definition.labels:
            return self.definition.labels
        if self.reading.label_names:
            return tuple(dict.fromkeys(self.reading.label_names.values()))
        found = {label for _, row in source.rows for label in self._labels_in(row)}
        return tuple(sorted(found))

    def with_labels(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the options with the labels among them, where there are enough to choose from."""
        if "labels" not in self.kind.options_type.__annotations__ or len(labels) < _FEWEST_LABELS:
            return dict(self.options)
        return {**self.options, **self.kind.checked_options(self.definition.id, {"labels": list(labels)})}

    def check(self, source: Source, labels: Sequence[str], rows: Iterable[tuple[int, Row]], *, learnt: bool) -> Part:
        """Make examples of rows.

        Args:
            source: the data.
            labels: those there are.
            rows: of the data; those to take.
            learnt: whether each has to have a gold, as rows to learn from do.
        """
        checker = RowChecker(
            self.evaluator,
            lambda fields: example_of(self.kind, fields),
            self.reading,
            labels or self.options.get("choices", ()),
            keep_language="language" not in self.options,
        )
        items: list[Item] = []
        faults: list[Fault] = []
        columns: dict[str, None] = {}
        for number, row in rows:
            columns.update(dict.fromkeys(row.fields))
            try:
                (item,) = checker.items([(number, row)])
            except DataError as error:
                faults.append(self._fault(row, labels, error))
                continue
            fault = self._emptiness(item, learnt)
            if fault is None:
                items.append(item)
            else:
                faults.append(fault)
        return Part(source, tuple(items), tuple(faults), tuple(columns))

    def column(self, field: str) -> str:
        """Return the column that a field of the example stands in."""
        return self.reading.columns.get(field, field)

    def value(self, row: Row, field: str) -> object:
        """Return what a row has for a field of the example, None where it has nothing."""
        column = self.column(field)
        if column in row.fields or "." not in column:
            return row.fields.get(column)
        try:
            return with_columns(row, {field: column}).fields[field]
        except DataError:
            return None

    def _fault(self, row: Row, labels: Sequence[str], error: DataError) -> Fault:
        gold = self.evaluator.gold_field
        for field in dict.fromkeys((*self._required, *([gold] if gold else ()), *self.reading.columns)):
            if field == "id":
                continue
            column, value = self.column(field), self.value(row, field)
            if value is None:
                return Fault("missing", row.where, column, f"nothing stands in the column {column!r}")
            if isinstance(value, str) and not value.strip() and (field in self._required or field == gold):
                return Fault("empty", row.where, column, f"the column {column!r} is empty")
        if self.has_labels:
            for label in self._labels_in(row):
                if what := self._ignorance(label, labels):
                    return Fault("unknown_label", row.where, self.column("label"), what)
        what = str(error).removeprefix(f"{row.where}: ").removeprefix(f"{row.where} ").rstrip(".")
        return Fault("unusable", row.where, None, what)

    def _ignorance(self, label: str, labels: Sequence[str]) -> str | None:
        """Say where a label of the data is missing, or return None."""
        names = self.reading.label_names
        known, where = (tuple(names), "label_names") if names else (tuple(labels), "the labels")
        if label in names:
            label, known, where = names[label], tuple(labels), "the labels"
        if label in known:
            return None
        return f"the label {label!r} is not among {where} ({_listed(known)}).{suggestion(label, known)}".rstrip(".")

    def _labels_in(self, row: Row) -> list[str]:
        """Return the labels that stand in a row; those that say nothing are left out."""
        value = self.value(row, "label")
        return [] if value is None else [label for label in self.evaluator.labels(value) if label.strip()]

    def _emptiness(self, item: Item, learnt: bool) -> Fault | None:
        for name in self._required:
            value = getattr(item.example, name)
            if isinstance(value, str) and not value.strip():
                column = self.column(name)
                return Fault("empty", item.where, column, f"the column {column!r} is empty")
        gold = self.evaluator.gold(item.example)
        may_be_none = self.evaluator.kind == "label_sets"
        if learnt and not may_be_none and isinstance(gold, tuple) and not any(text.strip() for text in gold):
            column = self.column(self.evaluator.gold_field or "")
            return Fault("empty", item.where, column, f"the column {column!r} holds nothing to learn")
        return None


def _evaluator(task: str, kind: type[Pipeline[Any, Any]]) -> Evaluator:
    try:
        return evaluator_for(task, kind)
    except OptionError:
        raise OptionError(
            f"The task {task!r} has no examples to learn from, because nothing in them says what is right: take a task "
            "of classification, question answering, multiple choice, translation, summarization, generation or scoring."
        ) from None


def _without_nulls(row: Row) -> Row:
    if None not in row.fields.values():
        return row
    return Row({name: value for name, value in row.fields.items() if value is not None}, row.where)


def labels_of(gold: object) -> tuple[str, ...]:
    """Return the labels of an example's gold, one or several."""
    return gold if isinstance(gold, tuple) else () if gold is None else (str(gold),)


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:_MOST_SHOWN])
    return f"{shown}, … {len(labels)} in all" if len(labels) > _MOST_SHOWN else shown
