"""``compare(run, run)``: is one run better than another on the same examples, and where do they differ?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptapps.errors import OptionError
from gptapps.evaluation.comparison import ChangedExample, ComparedRun, Comparison, Difference, MetricComparison
from gptapps.evaluation.manifest import Manifest, digest
from gptapps.evaluation.recorded import RecordedRun, read_run
from gptapps.evaluation.results import EvaluationReport
from gptapps.metrics.bleu import SacrebleuMetric
from gptapps.metrics.confidence import FloatArray, bootstrap_values, exact_sums, percentile_interval
from gptapps.metrics.likelihood import Perplexity
from gptapps.metrics.score import Metric, Score
from gptapps.metrics.significance import (
    SACREBLEU_RESAMPLES,
    SACREBLEU_SEED,
    SACREBLEU_TRIALS,
    paired_difference,
)
from gptapps.registry import METRICS
from gptapps.task_definition import FAMILIES

_OF_THE_MODEL = ("sha256", "chat_template")
"""Keys of a manifest's prompt that the model has a part in: two models take one prompt in two wordings."""

_READ_BY_TEMPLATES = ("language", *{name: None for family in FAMILIES.values() for name in family.variables})
"""Options that decide a prompt's wording where they are options at all; the other variables come with an example."""

_OF_THE_DATA = ("sha256", "columns", "prepare")

Row = Mapping[str, float | None]


def compare(
    *runs: str | Path | EvaluationReport,
    examples: int = 5,
    different_prompts: bool = False,
    seed: int = SACREBLEU_SEED,
    resamples: int = SACREBLEU_RESAMPLES,
    trials: int = SACREBLEU_TRIALS,
) -> Comparison:
    """Compare finished runs with the first of them, metric by metric and example by example.

    The p-values of BLEU, chrF and TER are those of sacrebleu's paired tests with the same seed and numbers;
    :mod:`gptapps.metrics.significance` says how they and all others come about.

    Args:
        runs: two or more run folders, or what :func:`gptapps.evaluate` returned.
        examples: how many of the examples that changed most to return.
        different_prompts: compare runs whose prompts differ; on purpose, since the difference may be the prompt's then.
        seed: of the tests; sacrebleu's by default.
        resamples: of the bootstrap; 0 leaves out intervals and its p-values.
        trials: of approximate randomization; 0 leaves out its p-values.

    Returns:
        The comparison; ``print(comparison.table)`` shows it.

    Raises:
        OptionError: fewer than two runs, one twice, a negative number, or runs that can't be compared: their data,
            examples or prompts differ; says in what.
        DataError: a folder holds no run, or one that isn't finished.

    Example:
        >>> comparison = compare("runs/gpt2", "runs/smollm2")                       # doctest: +SKIP
        >>> comparison.metric("accuracy").differences[0].paired.randomization_p     # doctest: +SKIP
        0.0312
    """
    folders = [run.folder if isinstance(run, EvaluationReport) else Path(run) for run in runs]
    if len(folders) < 2:
        raise OptionError("A comparison needs two runs or more: name their folders.")
    if examples < 0:
        raise OptionError(f"examples is {examples}, but has to be 0 or above.")
    for place, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:place]]:
            raise OptionError(f"The run {folder} is named twice: name each once.")
    read = [read_run(folder) for folder in folders]
    for run in read[1:]:
        _require_same_examples(read[0], run)
        if not different_prompts:
            _require_same_prompts(read[0], run)
    metrics, notes = _common_metrics(read)
    changed = _changed(read, [metric.name for metric in metrics])
    return Comparison(
        task=str(read[0].report["task"]),
        data=str(read[0].report["data"]),
        n=len(read[0].examples),
        runs=_described(read),
        metrics=tuple(_compared(metric, read, seed, resamples, trials) for metric in metrics),
        changed=tuple(changed[:examples]),
        changes=len(changed),
        notes=tuple(notes),
        seed=seed,
        resamples=resamples,
        trials=trials,
    )


def _require_same_examples(first: RecordedRun, other: RecordedRun) -> None:
    here, there = f"The runs {first.folder} and {other.folder} can't be compared", "evaluate both on the same data"
    if first.evaluator is not other.evaluator:
        tasks = f"{first.report['task']} and {other.report['task']}"
        raise OptionError(f"{here}, because they are of different tasks ({tasks}): name runs of one task.")
    for key in _OF_THE_DATA:
        if first.manifest["data"][key] != other.manifest["data"][key]:
            what = "the checksums of their data differ" if key == "sha256" else f"their data was read with other {key}"
            raise OptionError(f"{here}, because {what}: {there}.")
    rows = [{example.index for example in run.examples} for run in (first, other)]
    if alone := sorted(rows[0] ^ rows[1]):
        raise OptionError(
            f"{here}, because {len(alone)} rows are in one of them only (row {alone[0]} for one): evaluate both with "
            "the same limit, sampling, seed and shots."
        )
    for mine, theirs in zip(first.examples, other.examples, strict=True):
        if mine.gold != theirs.gold:
            raise OptionError(f"{here}, because the gold of row {mine.index} differs: {there} and label names.")
    if first.language != other.language:
        raise OptionError(
            f"{here}, because their metrics take the texts to be in {first.language} and {other.language}: evaluate "
            "both with the same text_language."
        )


def _require_same_prompts(first: RecordedRun, other: RecordedRun) -> None:
    prompts = first.manifest["prompt"], other.manifest["prompt"]
    options = first.manifest["options"], other.manifest["options"]
    differing = [key for key in prompts[0] if key not in _OF_THE_MODEL and prompts[0][key] != prompts[1].get(key)]
    chosen = [name for name in _READ_BY_TEMPLATES if options[0].get(name) != options[1].get(name)]
    where = ""
    if differing:
        where = {"prompts": "the task's templates"}.get(differing[0], differing[0])
    elif chosen:
        where = chosen[0]
    elif prompts[0]["chat_template"] == prompts[1]["chat_template"]:
        pairs = zip(first.examples, other.examples, strict=True)
        where = next((f"row {mine.index}" for mine, theirs in pairs if mine.prompt != theirs.prompt), "")
    if where:
        raise OptionError(
            f"The prompts of {first.folder} and {other.folder} differ ({where}): evaluate with the same, or compare "
            "them on purpose with different_prompts (--different-prompts)."
        )


def _common_metrics(runs: Sequence[RecordedRun]) -> tuple[list[Metric], list[str]]:
    names = [name for name in runs[0].manifest["metrics"] if all(name in run.manifest["metrics"] for run in runs)]
    if not names:
        raise OptionError(f"The runs {', '.join(str(run.folder) for run in runs)} have no metric in common.")
    metrics, notes = [], []
    for metric in map(METRICS.get, names):
        if isinstance(metric, Perplexity) and len({tuple(_scored_tokens(run)) for run in runs}) > 1:
            notes.append(
                f"{metric.name} is left out: the models split the texts into different tokens; bits_per_byte compares "
                "such models."
            )
        else:
            metrics.append(metric)
    if not metrics:
        raise OptionError(f"The runs have nothing to compare: {notes[0]}")
    return metrics, notes


def _scored_tokens(run: RecordedRun) -> list[int | None]:
    return [example.prediction.get("tokens") for example in run.examples]


def _compared(metric: Metric, runs: Sequence[RecordedRun], seed: int, resamples: int, trials: int) -> MetricComparison:
    golds = [example.gold for example in runs[0].examples]
    predictions = [prediction for run in runs for prediction in run.predictions(metric)]
    # All in one call: the columns may depend on the labels that occur anywhere.
    rows = metric.statistics(predictions, golds * len(runs), language=runs[0].language)
    statistics: list[FloatArray] = np.split(rows, len(runs))
    differences = []
    for run, theirs in zip(runs[1:], statistics[1:], strict=True):
        paired = paired_difference(
            statistics[0],
            theirs,
            metric.aggregate,
            seed=seed,
            resamples=resamples,
            trials=trials,
            as_sacrebleu=isinstance(metric, SacrebleuMetric),
        )
        differences.append(Difference(paired, *_counts(metric, runs[0], run)))
    scores = (_score(metric, run, own, resamples) for run, own in zip(runs, statistics, strict=True))
    return MetricComparison(tuple(scores), tuple(differences))


def _score(metric: Metric, run: RecordedRun, statistics: FloatArray, resamples: int) -> Score:
    """Return what the run's own report says, as long as the resamples are as many."""
    value = float(metric.aggregate(exact_sums(statistics))[0])
    drawn = bootstrap_values(statistics, metric.aggregate, resamples=resamples, seed=run.seed)
    low, high = (percentile_interval(drawn) if len(statistics) > 1 else None) or (None, None)
    signature = next(score.signature for score in run.scores if score.name == metric.name)
    return Score(metric.name, value, low, high, len(statistics), signature, metric.higher_is_better)


def _counts(metric: Metric, first: RecordedRun, other: RecordedRun) -> tuple[int, int, int]:
    changes = [_change(metric.name, *pair) for pair in _own_scores(first, other)]
    up, down = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    return (up, down, len(changes) - up - down) if metric.higher_is_better else (down, up, len(changes) - up - down)


def _own_scores(*runs: RecordedRun) -> list[tuple[Row, ...]]:
    return list(zip(*([example.scores for example in run.examples] for run in runs), strict=True))


def _change(name: str, mine: Row, theirs: Row) -> float:
    before, after = mine.get(name), theirs.get(name)
    return 0.0 if before is None or after is None else after - before


def _changed(runs: Sequence[RecordedRun], names: Sequence[str]) -> list[ChangedExample]:
    """Return the examples whose scores changed, the most changed first: in the first metric, then in the next ones."""
    found = []
    for examples in zip(*(run.examples for run in runs), strict=True):
        scores = tuple(example.scores for example in examples)
        sizes = tuple(max(abs(_change(name, scores[0], other)) for other in scores[1:]) for name in names)
        if any(sizes):
            first = examples[0]
            predictions = tuple(example.prediction for example in examples)
            prompts = tuple(example.prompt for example in examples)
            found.append((sizes, ChangedExample(first.index, first.id, first.gold, prompts, predictions, scores)))
    return [example for _, example in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _described(runs: Sequence[RecordedRun]) -> tuple[ComparedRun, ...]:
    first = _comparable(runs[0])
    return tuple(
        ComparedRun(
            name=name,
            model=run.model,
            folder=run.folder,
            signature=str(run.manifest["signature"]),
            differs=() if run is runs[0] else tuple(_comparable(run).differences(first.content)),
        )
        for name, run in zip(_names(runs), runs, strict=True)
    )


def _comparable(run: RecordedRun) -> Manifest:
    prompt = {key: value for key, value in run.manifest["prompt"].items() if key not in _OF_THE_MODEL}
    return Manifest({**run.manifest, "prompt": {"sha256": digest(prompt)}})


def _names(runs: Sequence[RecordedRun]) -> list[str]:
    ways: list[list[Any]] = [[run.model for run in runs], [run.folder.resolve().name for run in runs]]
    for names in ways:
        if len(set(names)) == len(names):
            return [str(name) for name in names]
    return [str(run.folder) for run in runs]
