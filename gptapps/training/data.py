"""What is learned from and what it is tried on: rows read, checked and split, before any model is loaded."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gptapps.errors import DataError, OptionError
from gptapps.evaluation.evaluators import Evaluator
from gptapps.evaluation.selection import Item, Sampling, Source, choose
from gptapps.task_definition import TaskDefinition
from gptapps.training.folds import split_off, stratified_folds
from gptapps.training.identity import identities
from gptapps.training.reading import Part, TrainingRows, labels_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlan:
    """Which data a task is to be learned from.

    Attributes:
        task: a task's name or alias, or the path of a definition.
        train: a .jsonl, .csv, .tsv or .parquet file, or a hub data set, ``"hub:org/name#config:split"``.
        validation: other data to try it on; or the share of ``train``, above 0 and below 1, that the seed sets aside;
            or None for nothing.
        columns, where, label_names: as :func:`gptapps.evaluate` has them, for both.
        limit: the most rows of ``train`` that are taken, validation's share among them; other data is taken whole.
        sampling: ``"first"`` takes the first ones, ``"random"`` draws them by the seed.
        seed: of all that is drawn.
        options: of the pipeline's calls, such as ``labels``, ``source`` and ``target``.
    """

    task: str
    train: str | Path
    validation: str | Path | float | None = 0.1
    columns: Mapping[str, str] | None = None
    where: Mapping[str, str] | None = None
    label_names: Mapping[str, str] | None = None
    limit: int | None = None
    sampling: Sampling = "first"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataChecksum:
    """Which data something was learned from.

    Attributes:
        name: of the file or hub data set.
        sha256: of the file's bytes; of the rows where they come from the hub.
        rows: how many were taken.
    """

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Examples to learn from and to try it on.

    Attributes:
        task: the definition.
        train, validation: examples with their gold; ``validation`` may be empty.
        labels: in their order; empty where the task has none.
        options: of the pipeline's calls: the task's defaults, the plan's, and the labels.
        evaluator: of the task's family; ``evaluator.gold(item.example)`` is what is right.
        checksums: ``"train"``, and ``"validation"`` where that is other data.
        plan: where all this came from.
    """

    task: TaskDefinition
    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    labels: tuple[str, ...]
    options: Mapping[str, Any]
    evaluator: Evaluator
    checksums: Mapping[str, DataChecksum]
    plan: DataPlan

    def as_dict(self) -> dict[str, Any]:
        """Return which data this is, for a JSON file: the plan, the checksums and the numbers of examples."""
        plan = asdict(self.plan)
        data = {name: plan[name] and str(plan[name]) for name in ("train", "validation")}
        return {
            **plan,
            **data,
            "options": {name: value for name, value in self.options.items() if value is not None},
            "labels": list(self.labels),
            "checksums": {name: asdict(one) for name, one in self.checksums.items()},
            "examples": {"train": len(self.train), "validation": len(self.validation)},
        }


def gold_labels(data: TrainingData, items: Sequence[Item]) -> list[str]:
    """Return the label of each example, the first of several; an empty one where there is none.

    Examples of a task without labels count as alike.
    """
    return [next(iter(labels_of(data.evaluator.gold(item.example))), "") if data.labels else "" for item in items]


def read_training_data(plan: DataPlan) -> TrainingData:
    """Read the data of a plan, as far as every row can be used.

    :func:`gptapps.training.doctor.diagnose` does the same and says all that is wrong at once.

    Raises:
        DataError: data that can't be read, or a row that is no example to learn from; names file and line.
        OptionError: an option that makes no sense, or too little data to split.
        UnknownNameError: no such task.

    Example:
        >>> data = read_training_data(DataPlan(task="classify", train="mails.csv"))          # doctest: +SKIP
        >>> len(data.train), len(data.validation), data.labels                               # doctest: +SKIP
        (900, 100, ('routine', 'urgent'))
    """
    rows = rows_of(plan)
    train = rows.read(plan.train)
    other = validation_data(plan)
    labels = rows.labels(train)
    parts = checked_parts(plan, rows, labels, train, None if other is None else rows.read(other))
    for part in parts.values():
        if part.faults:
            raise DataError(f"{part.faults[0].where}: {part.faults[0].what}: mend the row, or leave it out.")
    return assembled(plan, rows, labels, parts)


def data_folds(data: TrainingData, folds: int, seed: int) -> Iterator[TrainingData]:
    """Yield the data once for each fold: another part of all its examples validates, the others train.

    Raises:
        OptionError: fewer than two folds, or too few examples.
    """
    items = data.train + data.validation
    for fold in stratified_folds(gold_labels(data, items), folds, seed, groups_of(data.evaluator, items)):
        yield replace(
            data,
            train=tuple(items[index] for index in fold.train),
            validation=tuple(items[index] for index in fold.validation),
        )


def groups_of(evaluator: Evaluator, items: Sequence[Item]) -> list[Hashable]:
    """Return what each example is about, so that those about the same stay on one side of a split."""
    return [identity.subject for identity in identities(items, evaluator)]


def rows_of(plan: DataPlan) -> TrainingRows:
    """Return the reader of the plan's data, with everything checked that needs none of it.

    Raises:
        OptionError: an option that makes no sense.
        UnknownNameError: no such task.
    """
    share = plan.validation
    if isinstance(share, bool) or (isinstance(share, int | float) and not 0 < share < 1):
        raise OptionError(f"validation is {share}, but a share has to be above 0 and below 1: or name a file.")
    if isinstance(plan.limit, int) and plan.limit < 1:
        raise OptionError(f"limit is {plan.limit}, but has to be 1 or above.")
    return TrainingRows(
        plan.task, columns=plan.columns, where=plan.where, label_names=plan.label_names, options=plan.options
    )


def validation_data(plan: DataPlan) -> str | Path | None:
    """Return the other data to validate on, if the plan names some."""
    return plan.validation if isinstance(plan.validation, str | Path) else None


def checked_parts(
    plan: DataPlan, rows: TrainingRows, labels: tuple[str, ...], train: Source, validation: Source | None
) -> Mapping[str, Part]:
    """Return ``"train"``, and ``"validation"`` where it is other data, with the faults of their rows."""
    taken = choose(len(train.rows), plan.limit, plan.sampling, plan.seed)
    parts = {"train": rows.check(train, labels, [train.rows[place] for place in taken], learnt=True)}
    if validation is not None:
        parts["validation"] = rows.check(validation, labels, validation.rows, learnt=False)
    return parts


def assembled(plan: DataPlan, rows: TrainingRows, labels: tuple[str, ...], parts: Mapping[str, Part]) -> TrainingData:
    """Return the training data that checked parts make, with validation split off where the plan says so.

    Raises:
        OptionError: too little data to split.
    """
    data = TrainingData(
        task=rows.definition,
        train=parts["train"].items,
        validation=parts["validation"].items if "validation" in parts else (),
        labels=labels,
        options=rows.with_labels(labels),
        evaluator=rows.evaluator,
        checksums={
            name: DataChecksum(part.source.name, part.source.sha256, len(part.items)) for name, part in parts.items()
        },
        plan=plan,
    )
    if not isinstance(plan.validation, float):
        return data
    groups = groups_of(rows.evaluator, data.train)
    fold = split_off(gold_labels(data, data.train), plan.validation, plan.seed, groups)
    return replace(
        data,
        train=tuple(data.train[index] for index in fold.train),
        validation=tuple(data.train[index] for index in fold.validation),
    )
