"""A suite carried out: each entry in a run folder of its own, and one table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CapabilityError, DataError, GPTAppsError, OptionError, ResourceError
from gptapps.evaluation.plan import RUNS, Plan
from gptapps.evaluation.results import EvaluationReport
from gptapps.evaluation.run import Run
from gptapps.evaluation.run_folder import Finished
from gptapps.evaluation.suite import DataTable, Entry, Suite
from gptapps.evaluation.tables import score_table
from gptapps.task_catalog import resolve_task

Watch = Callable[[str, Run], Iterable[Finished]]
"""Gets an entry's name and its run, and goes through what remains of it; the place for a progress bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What holds for every entry.

    Attributes:
        data_root: folder in which copies of data sets lie; None leaves them to the hub.
        limit: the most examples, instead of each entry's own.
        full: all examples, whatever an entry's limit.
        parent: holds the run folders.
        options: of ``pipeline(...)``, such as batch_size.
    """

    data_root: Path | None = None
    limit: int | None = None
    full: bool = False
    parent: Path = RUNS
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.full and self.limit is not None:
            raise OptionError("limit and full contradict each other: give one of them.")
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"limit is {self.limit}, but has to be 1 or above.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an entry.

    Attributes:
        entry: its name.
        report: where there is one.
        state: ``"done"``; ``"not able"``, where the model can't do it; ``"failed"``, for any other reason.
        reason: the sentence, where there is no report.
    """

    entry: str
    report: EvaluationReport | None = None
    state: Literal["done", "not able", "failed"] = "done"
    reason: str = ""


def run_suite(
    suite: Suite, model: LanguageModel, settings: BenchSettings, watch: Watch = lambda _, run: run.remaining()
) -> Iterator[Outcome]:
    """Evaluate the entries of a suite one after the other; what is finished already isn't done again.

    Args:
        suite: which.
        model: which.
        settings: for every entry.
        watch: goes through each run.

    Yields:
        An outcome for every entry, in their order.

    Raises:
        ResourceError: a run folder can't be written.
    """
    for entry in suite.entries:
        try:
            with Run(plan_of(suite, entry, model, settings)) as run:
                for _ in watch(entry.name, run):
                    pass
                yield Outcome(entry.name, run.report())
        except CapabilityError as error:
            yield Outcome(entry.name, state="not able", reason=str(error))
        except ResourceError:
            raise
        except GPTAppsError as error:
            yield Outcome(entry.name, state="failed", reason=str(error))


def suite_table(outcomes: Sequence[Outcome], model: str) -> str:
    """Return one table of the scores, and below it a line for each entry that has none, with the reason."""
    rows = [(one.entry, one.report.scores, one.report.baselines) for one in outcomes if one.report is not None]
    table = [score_table(rows, model)] if rows else []
    return "\n".join([*table, *(f"{one.entry}: {one.state}: {one.reason}" for one in outcomes if one.report is None)])


def plan_of(suite: Suite, entry: Entry, model: LanguageModel, settings: BenchSettings) -> Plan:
    """Return what evaluating an entry means.

    Raises:
        DataError: its data isn't there.
        UnknownNameError, TaskDefinitionError: there is no such task.
    """
    task = str(Path(suite.folder) / entry.task) if entry.task.endswith(".toml") else entry.task
    data, shots_data, reading = _data_of(task, entry, settings.data_root)
    return Plan(
        task=task,
        name=entry.name,
        data=data,
        shots=None if entry.shots == "task" else entry.shots,
        shots_data=shots_data,
        limit=None if settings.full else settings.limit or entry.limit,
        sampling=entry.sampling,
        seed=entry.seed,
        columns=reading.columns,
        where=reading.where,
        label_names=reading.label_names,
        prepare=reading.prepare,
        metrics=entry.metrics,
        baselines=entry.baselines,
        text_language=entry.text_language,
        parent=settings.parent,
        options={**settings.options, **entry.options, "model": model},
    )


def _data_of(task: str, entry: Entry, data_root: Path | None) -> tuple[str | Path, str | Path | None, DataTable]:
    if entry.sample is not None:
        return Path(resolve_task(task).origin).parent / "sample.jsonl", None, entry.sample
    local, hub = entry.local, entry.hub
    if local is not None and data_root is not None and (data_root / local.path).is_file():
        shots = data_root / local.shots_path if local.shots_path else None
        return data_root / local.path, shots, local
    if hub is not None:
        return hub.name(hub.split), hub.name(hub.shots_split) if hub.shots_split else None, hub
    path = local.path if local is not None else "it"
    raise DataError(
        f"There is no {path} below {data_root or 'a data root'}: name the folder that holds it (--data-root)."
    )
