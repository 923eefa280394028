"""What a comparison of runs returns, as records, as text for a terminal and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptapps.errors import UnknownNameError
from gptapps.evaluation.recorded import prediction_text
from gptapps.evaluation.results import finite
from gptapps.evaluation.tables import aligned, digits_of, interval_text
from gptapps.metrics.score import Score
from gptapps.metrics.significance import PairedDifference
from gptapps.registry import suggestion

_SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the runs.

    Attributes:
        name: what it is called in tables: its model, or its folder where several share a model.
        model: the model's name.
        folder: the run's.
        signature: of everything that decides its numbers.
        differs: in words, what it has differently from the first run; empty for the first.
    """

    name: str
    model: str
    folder: Path
    signature: str
    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A run against the first one, in one metric.

    Attributes:
        paired: the run's value minus the first's, its interval and the tests' p-values.
        better, worse, same: how many examples have a better, a worse and the same score of their own.
    """

    paired: PairedDifference
    better: int
    worse: int
    same: int


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """All runs in one metric.

    Attributes:
        scores: one a run.
        differences: one for each run but the first.
    """

    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]

    @property
    def name(self) -> str:
        """The metric's."""
        return self.scores[0].name


@dataclass(frozen=True, slots=True)
class ChangedExample:
    """An example on which the runs differ.

    Attributes:
        index: number of its row in the data, from 0.
        id: what the data calls it, else None.
        gold: what is right.
        prompts, predictions, scores: one a run; scores are metric -> the example's own value.
    """

    index: int
    id: str | None
    gold: str | tuple[str, ...] | None
    prompts: tuple[str, ...]
    predictions: tuple[Mapping[str, Any], ...]
    scores: tuple[Mapping[str, float | None], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs held against the first of them on the same examples.

    Attributes:
        task, data: what was evaluated, in the first run's words.
        n: the number of examples.
        runs: in the order given.
        metrics: those that all runs have.
        changed: the examples that changed most, in that order.
        changes: how many changed at all.
        notes: sentences on what can't be compared.
        seed, resamples, trials: of the tests.

    Example:
        >>> comparison = compare("runs/one", "runs/other")     # doctest: +SKIP
        >>> print(comparison.table)                            # doctest: +SKIP
    """

    task: str
    data: str
    n: int
    runs: tuple[ComparedRun, ...]
    metrics: tuple[MetricComparison, ...]
    changed: tuple[ChangedExample, ...]
    changes: int
    notes: tuple[str, ...]
    seed: int
    resamples: int
    trials: int

    @property
    def table(self) -> str:
        """The values and differences as text in columns, and below them what the runs differ in."""
        lines = [["metric", "run", "value", "difference", "bootstrap p", "randomization p", "better/worse/same"]]
        for metric in self.metrics:
            for place, (run, score) in enumerate(zip(self.runs, metric.scores, strict=True)):
                name = "" if place else metric.name
                beside = difference_cells(metric.differences[place - 1], score) if place else [""] * 4
                lines.append([name, run.name, interval_text(score.value, score.low, score.high), *beside])
        differing = [f"{run.name} differs in: {', '.join(run.differs)}" for run in self.runs[1:] if run.differs]
        return "\n".join([aligned(lines), "", *differing, *self.notes, self.legend])

    @property
    def legend(self) -> str:
        """What the numbers are, in a sentence or two."""
        several = " They aren't corrected for several comparisons." if len(self.runs) > 2 else ""
        return (
            f"{self.n} examples. Intervals hold 95 % of {self.resamples:,} bootstrap resamples; p-values: paired "
            f"bootstrap, and approximate randomization with {self.trials:,} trials, seed {self.seed}.{several}"
        )

    @property
    def examples_text(self) -> str:
        """The examples that changed most, for a terminal: long prompts are shortened."""
        return "\n\n".join("\n".join(self._lines_of(example)) for example in self.changed)

    def metric(self, name: str) -> MetricComparison:
        """Return the comparison in a metric.

        Raises:
            UnknownNameError: not all runs have it.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        names = [metric.name for metric in self.metrics]
        raise UnknownNameError(f"There is no metric {name!r}.{suggestion(name, names)} Metrics: {', '.join(names)}.")

    def as_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON knows; numbers that it doesn't know are None."""
        content: dict[str, Any] = _plain(dataclasses.asdict(self))
        for plain, metric in zip(content["metrics"], self.metrics, strict=True):
            plain["name"] = metric.name
        return content

    def _lines_of(self, example: ChangedExample) -> list[str]:
        called = f" ({example.id})" if example.id is not None else ""
        same_prompt = len(set(example.prompts)) == 1
        lines = [f"row {example.index}{called}"]
        if same_prompt and example.prompts[0]:
            lines.append(f"  prompt: {_shortened(example.prompts[0])}")
        if example.gold is not None:
            golds = [example.gold] if isinstance(example.gold, str) else example.gold
            lines.append(f"  gold: {' | '.join(_shortened(gold) for gold in golds)}")
        for run, prompt, prediction, scores in zip(
            self.runs, example.prompts, example.predictions, example.scores, strict=True
        ):
            if not same_prompt:
                lines.append(f"  prompt of {run.name}: {_shortened(prompt)}")
            own = ", ".join(f"{name} {'-' if value is None else f'{value:.3g}'}" for name, value in scores.items())
            lines.append(f"  {run.name}: {_shortened(prediction_text(prediction))}  [{own}]")
        return lines


def difference_cells(difference: Difference, score: Score) -> list[str]:
    """Return a difference, its two p-values and the counts of examples as text; ``score`` sets the decimals."""
    paired = difference.paired
    return [
        interval_text(paired.value, paired.low, paired.high, digits=digits_of(score.value), signed=True),
        p_text(paired.bootstrap_p),
        p_text(paired.randomization_p),
        f"{difference.better}/{difference.worse}/{difference.same}",
    ]


def p_text(p: float | None) -> str:
    """Return a p-value with four decimals.

    Example:
        >>> p_text(0.05), p_text(1 / 100_001), p_text(None)
        ('0.0500', '<0.0001', '')
    """
    if p is None:
        return ""
    return "<0.0001" if p < 0.00005 else f"{p:.4f}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= _SHOWN_CHARACTERS:
        return line
    half = _SHOWN_CHARACTERS // 2
    return f"{line[:half].rstrip()} … {line[-half:].lstrip()}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return finite(value)
    return str(value) if isinstance(value, Path) else value
