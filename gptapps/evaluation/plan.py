"""What is to be evaluated, and what of the data that means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gptapps.errors import DataError, OptionError
from gptapps.evaluation.evaluators import Evaluator
from gptapps.evaluation.selection import (
    Item,
    Reading,
    RowChecker,
    Sampling,
    Source,
    checked_reading,
    choose,
    draw_shots,
    labels_in,
    read_source,
)
from gptapps.examples import Example
from gptapps.pipelines.base import Pipeline
from gptapps.pipelines.factory import SetupOptions
from gptapps.pipelines.options import first_fault
from gptapps.task_definition import TaskDefinition

RUNS = Path("runs")
"""Where a run goes that is given no folder, below the working directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be evaluated; :func:`gptapps.evaluate` says what each means.

    Attributes:
        name: what the data is called in tables and in the folder's name; None for its own name.
        parent: holds the folder where ``output`` doesn't name one.
        options: of the pipeline, the model among them.
    """

    task: str
    data: str | Path
    shots: int | Sequence[Mapping[str, str]] | None = None
    shots_data: str | Path | None = None
    limit: int | None = None
    sampling: Sampling = "first"
    seed: int = 0
    columns: Mapping[str, str] | None = None
    where: Mapping[str, str] | None = None
    label_names: Mapping[str, str] | None = None
    prepare: str | None = None
    metrics: Sequence[str] | None = None
    baselines: Sequence[str] | None = None
    text_language: str | None = None
    output: Path | None = None
    parent: Path = RUNS
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was taken from the data, before any model is loaded.

    Attributes:
        items: to evaluate.
        shots: worked examples to show; None for the task's own.
        source: the data.
        shots_source: where the worked examples are from, if that is other data.
        left: how many rows there were to choose from.
        options: of the pipeline's calls, the task's defaults and the labels among them.
    """

    items: tuple[Item, ...]
    shots: tuple[Mapping[str, str], ...] | None
    source: Source
    shots_source: Source | None
    left: int
    options: Mapping[str, Any]


def choose_from_data(
    plan: Plan, definition: TaskDefinition, kind: type[Pipeline[Any, Any]], evaluator: Evaluator
) -> Chosen:
    """Read the data and choose from it, with everything checked that needs no model.

    Args:
        plan: what to evaluate.
        definition: of the task.
        kind: its pipeline.
        evaluator: of its family.

    Raises:
        OptionError: an option, or the number of shots or examples, makes no sense.
        DataError: the data can't be read, or a row is no example or has no gold.
    """
    known = kind.options_type.__annotations__
    call = {name: value for name, value in plan.options.items() if name not in SetupOptions.__annotations__}
    if "seed" in known:
        call["seed"] = plan.seed
    if isinstance(plan.shots, Sequence):
        call["shots"] = plan.shots
    options = kind.merged_options(definition, call)
    reading = checked_reading(plan.columns, plan.where, plan.label_names, plan.prepare, evaluator)
    source = read_source(plan.data, reading)
    if "labels" in known:
        labels = options.get("labels") or definition.labels or labels_in(source, reading, evaluator)
        options = kind.merged_options(definition, {**call, "labels": list(labels)})
    checker = RowChecker(
        evaluator,
        lambda fields: example_of(kind, fields),
        reading,
        options.get("labels") or options.get("choices", ()),
        keep_language="language" not in options,
    )
    shots, shots_source, rows = _shots(plan, definition, evaluator, reading, source, checker, options)
    if not rows:
        raise OptionError(
            f"All {len(source.rows)} rows of {source.name} are shown as worked examples: give fewer shots."
        )
    taken = choose(len(rows), plan.limit, plan.sampling, plan.seed)
    items = tuple(checker.items(rows[place] for place in taken))
    return Chosen(items, shots, source, shots_source, len(rows), options)


def _shots(
    plan: Plan,
    definition: TaskDefinition,
    evaluator: Evaluator,
    reading: Reading,
    source: Source,
    checker: RowChecker,
    options: Mapping[str, Any],
) -> tuple[tuple[Mapping[str, str], ...] | None, Source | None, Sequence[Any]]:
    """Return the worked examples, where else than in the data they are from, and the rows left to evaluate."""
    count = plan.shots
    if isinstance(count, Sequence):
        if plan.shots_data is not None:
            raise OptionError("shots_data is given beside worked examples: give shots as a number, or leave it out.")
        return tuple(options["shots"]), None, source.rows
    if count is None:
        return None, None, source.rows
    if count < 0:
        raise OptionError(f"shots is {count}, but has to be 0 or above.")
    elsewhere = read_source(plan.shots_data, reading) if plan.shots_data is not None and count else None
    pool = (elsewhere or source).rows
    if count > len(pool):
        raise OptionError(f"{count} shots are asked for, but {(elsewhere or source).name} has {len(pool)} rows.")
    taken = choose(len(pool), count, "random" if elsewhere else "first", plan.seed) if count else []
    shown = checker.items(pool[place] for place in taken)
    shots = draw_shots(evaluator, shown, options, definition.family.answer)
    return shots, elsewhere, source.rows if elsewhere else source.rows[count:]


def example_of(kind: type[Pipeline[Any, Any]], fields: Mapping[str, object]) -> Example:
    """Return the example that a pipeline takes, made of its fields.

    Raises:
        DataError: they don't make one; names the field.
    """
    try:
        return kind.example_type.model_validate(dict(fields))
    except ValidationError as error:
        raise DataError(f"the field {first_fault(error)}.") from None
