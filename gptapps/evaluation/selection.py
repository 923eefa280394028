"""Which rows of the data are evaluated, which are shown as worked examples, and what is right for each."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from gptapps.datasets import HUB_PREFIX, Row, chosen_fields, read_hub, read_rows, with_columns
from gptapps.errors import DataError, OptionError
from gptapps.evaluation.evaluators import Evaluator
from gptapps.evaluation.preparations import NEEDED_FIELDS, Preparation, joined_articles
from gptapps.examples import Example
from gptapps.registry import suggestion

T = TypeVar("T")

Sampling = Literal["first", "random"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows become examples.

    Attributes:
        columns: field of the example -> column of the data.
        where: column -> value; only rows that have them are kept.
        label_names: label in the data -> label that the model sees; several may go to one.
        prepare: what is done to rows before they are examples.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    label_names: Mapping[str, str] = field(default_factory=dict)
    prepare: Preparation | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Data that was read.

    Attributes:
        name: of the file or of the hub's data set, without the folders it lies in.
        sha256: of the file's bytes; of the rows where they come from the hub.
        rows: those kept, each with its number in the data, from 0; articles are numbered where lines were joined.
    """

    name: str
    sha256: str
    rows: tuple[tuple[int, Row], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One example to evaluate.

    Attributes:
        index: number of its row in the data, from 0.
        id: what the data calls it, else None.
        where: file and line, for messages.
        example: with its gold.
    """

    index: int
    id: str | None
    where: str
    example: Example


def read_source(data: str | Path, reading: Reading) -> Source:
    """Read a file or a hub data set and keep the rows that ``reading`` asks for.

    Raises:
        DataError: it can't be read, or nothing is left.
    """
    name = str(data)
    if name.startswith(HUB_PREFIX):
        rows = list(read_hub(name))
        written = json.dumps([row.fields for row in rows], ensure_ascii=False, sort_keys=True, default=str)
        digest = hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()
    else:
        path = Path(data)
        rows = list(read_rows(path))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.name
    if reading.prepare == "articles":
        rows = list(joined_articles(rows, reading.columns.get("text", "text")))
    kept = tuple((number, row) for number, row in enumerate(rows) if _is_kept(row, reading))
    if not kept:
        raise DataError(f"No row of {data} is left to evaluate: loosen 'where', or give other data.")
    return Source(name, digest, kept)


def labels_in(source: Source, reading: Reading, evaluator: Evaluator) -> tuple[str, ...]:
    """Return the labels of all rows, sorted; in the order of ``label_names`` where those are given."""
    if reading.label_names:
        return tuple(dict.fromkeys(reading.label_names.values()))
    column = reading.columns.get("label", "label")
    found = (row.fields[column] for _, row in source.rows if column in row.fields)
    return tuple(sorted({label for value in found for label in evaluator.labels(value)}))


def choose(count: int, limit: int | None, how: Sampling, seed: int) -> list[int]:
    """Return which of ``count`` rows are taken, in their order: the first ones, or some drawn by the seed.

    Raises:
        OptionError: a limit below 1, or no such way of sampling.

    Example:
        >>> choose(10, 3, "first", seed=0)
        [0, 1, 2]
    """
    if how not in get_args(Sampling):
        raise OptionError(f"There is no sampling {how!r}: use {' or '.join(get_args(Sampling))}.")
    if limit is not None and limit < 1:
        raise OptionError(f"limit is {limit}, but has to be 1 or above.")
    if limit is None or limit >= count:
        return list(range(count))
    return list(range(limit)) if how == "first" else sorted(random.Random(seed).sample(range(count), limit))


class RowChecker:
    """Makes checked examples of rows.

    Args:
        evaluator: of the family.
        check: returns a family's example of its fields, or raises :class:`DataError`.
        reading: how.
        labels: the labels there are, or what the options give to choose from; empty where the family has neither.
        keep_language: whether a row's own language counts; False where the caller named one.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        check: Callable[[Mapping[str, object]], Example],
        reading: Reading,
        labels: Sequence[str],
        *,
        keep_language: bool = True,
    ) -> None:
        self._evaluator = evaluator
        self._check = check
        self._reading = reading
        self._labels = tuple(labels)
        fields = evaluator.example_type.model_fields
        gold = (evaluator.gold_field,) if evaluator.gold_field else ()
        self._wanted = tuple(name for name in fields if keep_language or name != "language")
        self._required = (*(name for name, one in fields.items() if one.is_required()), *gold)

    def items(self, rows: Iterable[tuple[int, Row]]) -> list[Item]:
        """Return an item for each numbered row.

        Raises:
            DataError: a row that is no example, or has no gold; the message names its place.
        """
        return [self._item(number, row) for number, row in rows]

    def _item(self, number: int, row: Row) -> Item:
        mapped = with_columns(row, self._reading.columns)
        chosen = chosen_fields(mapped, self._wanted, self._required)
        fields = _at(row.where, self._evaluator.fields, chosen, self._labels)
        example = _at(row.where, self._check, self._prepared(fields, row.where))
        name = mapped.fields.get("id")
        return Item(number, None if name is None else str(name), row.where, example)

    def _prepared(self, fields: Mapping[str, object], where: str) -> dict[str, object]:
        kinds = self._evaluator.example_type.model_fields
        ready = {
            name: _as_texts(value) if _is_plural(kinds[name]) else _as_text(value) for name, value in fields.items()
        }
        if self._evaluator.gold_field == "label":
            given = ready["label"]
            labels = [self._label(str(label), where) for label in (given if isinstance(given, tuple) else (given,))]
            ready["label"] = tuple(labels) if isinstance(given, tuple) else labels[0]
        if self._reading.prepare == "last_word":
            before, _, last = str(ready["text"]).rstrip().rpartition(" ")
            ready = {**ready, "context": before, "text": f" {last}"}
        return ready

    def _label(self, label: str, where: str) -> str:
        names = self._reading.label_names
        if names and label not in names:
            raise DataError(
                f"{where} has the label {label!r}, which label_names doesn't name.{suggestion(label, names)} "
                f"It names: {', '.join(names)}."
            )
        label = names.get(label, label)
        if label not in self._labels:
            raise DataError(
                f"{where} has the label {label!r}, which is not among the labels ({', '.join(self._labels)})."
                f"{suggestion(label, self._labels)} Say with label_names what it stands for."
            )
        return label


def draw_shots(
    evaluator: Evaluator, items: Sequence[Item], options: Mapping[str, Any], answer: str
) -> tuple[Mapping[str, str], ...]:
    """Return the worked examples that items make, in their order.

    Args:
        evaluator: of the family.
        items: with gold.
        options: merged options.
        answer: the key under which the task's definition has an example's answer.

    Raises:
        DataError: one holds nothing to show as an answer; the message names its place.
        OptionError: the family shows none.
    """
    shots = []
    for item in items:
        try:
            shot = evaluator.shot(item.example, options)
        except DataError as error:
            raise DataError(f"{item.where}: {error}") from None
        shots.append({answer if key == evaluator.shot_answer else key: text for key, text in shot.items()})
    return tuple(shots)


def checked_reading(
    columns: Mapping[str, str] | None,
    where: Mapping[str, str] | None,
    label_names: Mapping[str, str] | None,
    prepare: str | None,
    evaluator: Evaluator,
) -> Reading:
    """Return how rows are read, if the family can be read so.

    Raises:
        OptionError: a column for a field that isn't there, labels where there are none, or no such preparation.
    """
    fields = (*evaluator.example_type.model_fields, "id")
    for name in columns or {}:
        if name not in fields:
            raise OptionError(
                f"Columns are given to the field {name!r}, which there isn't.{suggestion(name, fields)} "
                f"Fields: {', '.join(fields)}."
            )
    if label_names and evaluator.gold_field != "label":
        raise OptionError("label_names rename labels, and this task has none: leave it out.")
    if prepare is not None and NEEDED_FIELDS.get(prepare) not in fields:
        raise OptionError(f"There is no preparation {prepare!r} of this task's rows: leave it out.")
    known: Any = prepare
    return Reading(dict(columns or {}), dict(where or {}), dict(label_names or {}), known)


def _at(where: str, work: Callable[..., T], *given: Any) -> T:
    try:
        return work(*given)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _is_kept(row: Row, reading: Reading) -> bool:
    text = reading.columns.get("text", "text")
    if reading.prepare == "skip_empty" and not str(row.fields.get(text, "")).strip():
        return False
    return all(str(row.fields.get(column)) == value for column, value in reading.where.items())


def _is_plural(kind: Any) -> bool:
    return bool(kind.annotation == tuple[str, ...])


def _as_texts(value: object) -> object:
    # SQuAD's layout keeps the texts of answers beside their places.
    if isinstance(value, Mapping) and "text" in value:
        value = value["text"]
    if isinstance(value, str):
        return (value,)
    return tuple(_as_text(one) for one in value) if isinstance(value, list | tuple) else value


def _as_text(value: object) -> object:
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return " ".join(value)  # sentences, kept one by one
    return str(value) if isinstance(value, bool | int | float) else value
