"""Questions with given answers, beside lm-evaluation-harness: the same rows, prompts, weights and number of threads.

gptapps takes part twice: through its own pipeline, and inside the harness in place of the ``hf`` backend.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.speed.harness_tasks import ARC_EASY, SST2, HarnessTask, write_task
from benchmarks.speed.measuring import OURS, BenchmarkError, Comparison, Samples, Target, interleaved, say
from benchmarks.speed.process import SideProcess
from benchmarks.speed.settings import Settings

BATCH = 8
_TOGETHER = 64  # inputs of our pipelines, which fill a pass of so many tokens and pad nothing
TIE = 1e-3
"""Log-likelihoods nearer than this are as good as equal; batches of another shape move them by less."""

_LOW_MEMORY = "gptapps, low memory"
_CLIENT = "gptapps in the harness"
_THEIRS = "lm-evaluation-harness, hf"
SENTIMENT = '''schema_version = 1
pipeline = "classification"
head = "language_model"
summary = "Sentiment, asked as the harness's task asks it"
labels = ["negative", "positive"]

[prompts.en]
plain = """
{{ text }}
Question: Is this sentence positive or negative?
Answer:"""
'''


@dataclass(frozen=True, slots=True)
class Round:
    """One run of one side."""

    seconds: float  # from starting the process to its results
    peak_bytes: int
    found: Mapping[str, Any]  # phases, scores


def arc(settings: Settings) -> list[Comparison]:
    """Measure ARC-Easy behind eight worked examples: four choices a question.

    Raises:
        BenchmarkError: no data, or the sides choose differently.
    """
    return _compare(settings, ARC_EASY, "choose", Target("ratio", "at most", 0.1))


def sst2(settings: Settings) -> list[Comparison]:
    """Measure SST-2 without worked examples: two labels, a token each.

    Raises:
        BenchmarkError: no data, or the sides choose differently.
    """
    definition = settings.scratch / "sentiment.toml"
    definition.write_text(SENTIMENT, encoding="utf-8")
    return _compare(
        settings,
        SST2,
        str(definition),
        Target("ratio", "at most", round(1 / 1.2, 3)),
        Target("ratio", "at most", 0.5),
    )


def _compare(
    settings: Settings, task: HarnessTask, own_task: str, target: Target, memory_target: Target | None = None
) -> list[Comparison]:
    if settings.data_root is None:
        raise BenchmarkError(f"{task.title} needs data: give the folder that holds {task.file} with --data-root.")
    if not (settings.data_root / task.file).is_file():
        raise BenchmarkError(f"There is no {task.file} in {settings.data_root}.")
    folder = settings.scratch / task.name
    asked = write_task(task, settings.data_root, folder, settings.questions)
    say(f"{task.title}: {asked} questions behind {task.shots} worked examples")
    common = {"folder": str(folder), "task": task.name, "batch": BATCH, "threads": settings.threads}
    own = {**common, "batch": _TOGETHER, "model": settings.ours, "own_task": own_task, "low_memory": False}
    jobs = {
        OURS: ("benchmarks.speed.ours", "answer", own),
        _CLIENT: (
            "benchmarks.speed.harness_side",
            "evaluate",
            {**common, "backend": "gptapps", "model": settings.ours},
        ),
        _THEIRS: (
            "benchmarks.speed.harness_side",
            "evaluate",
            {**common, "backend": "hf", "model": settings.safetensors},
        ),
    }
    if memory_target is not None:
        jobs[_LOW_MEMORY] = ("benchmarks.speed.ours", "answer", {**own, "low_memory": True})
    rounds = interleaved(
        {name: partial(_round, name, *job, threads=settings.threads) for name, job in jobs.items()},
        settings.rounds,
        settings.warmups,
    )
    checks = check_same_choices({name: [one.found["scores"] for one in of_side] for name, of_side in rounds.items()})
    checks |= {"questions": asked, "worked_examples": task.shots, "accuracy": rounds[_THEIRS][0].found["accuracy"]}
    least = _LOW_MEMORY if memory_target is not None else OURS
    return [
        *_time_comparisons(task.title, rounds, target, checks),
        Comparison(
            name=f"{task.title}, memory",
            what="the most memory that the process held at once, mapped files among it",
            unit="MiB",
            ours=_memory(least, rounds),
            peers=tuple(_memory(side, rounds) for side in (_THEIRS, OURS, _CLIENT) if side != least),
            target=memory_target,
        ),
    ]


def _round(name: str, module: str, method: str, arguments: Mapping[str, Any], threads: int) -> Round:
    started = time.perf_counter()
    with SideProcess(module, threads) as side:
        found = side.call(method, **arguments)
        seconds = time.perf_counter() - started
        say(f"  {name}: scoring took {found['phases']['score']:.1f} of {seconds:.1f} s")
        return Round(seconds, side.peak_bytes, found)


def check_same_choices(scores: Mapping[str, Sequence[Sequence[Sequence[float]]]]) -> dict[str, Any]:
    """Refuse to compare sides that did not find the same answers.

    Args:
        scores: for each side, for each round, for each question the log-likelihood of each choice; a constant
            may be missing from all choices of a question.

    Returns:
        How many choices are the same, and by how much the log-likelihoods, taken from the best one's, differ at most.

    Raises:
        BenchmarkError: a question has another number of choices or another best one, and not for a tie.
    """
    reference = [_behind_best(question) for question in scores[OURS][0]]
    difference, tied = 0.0, set[int]()
    for side, of_side in scores.items():
        for questions in of_side:
            if [len(question) for question in questions] != [len(question) for question in reference]:
                raise BenchmarkError(f"{side} was asked other questions than {OURS}.")
            for number, (expected, question) in enumerate(zip(reference, map(_behind_best, questions), strict=True)):
                difference = max(difference, *(abs(a - b) for a, b in zip(expected, question, strict=True)))
                chosen = question.index(0.0)
                if expected[chosen] < -TIE:
                    raise BenchmarkError(
                        f"Question {number}: {side} chose {chosen} and {OURS} {expected.index(0.0)}, which leads by "
                        f"{-expected[chosen]:.2g}."
                    )
                if expected[chosen] != 0:
                    tied.add(number)
    return {"same_choices": len(reference) - len(tied), "largest_difference_nats": round(difference, 6)}


def _behind_best(question: Sequence[float]) -> list[float]:
    best = max(question)
    return [score - best for score in question]


def _time_comparisons(
    name: str, rounds: Mapping[str, Sequence[Round]], target: Target, checks: Mapping[str, Any]
) -> list[Comparison]:
    what = "seconds of scoring, imports and the loading of the model left out; `phases` has them, `total` among them"
    names = {OURS: name, _LOW_MEMORY: f"{name}, low memory", _CLIENT: f"{name}, in the harness"}
    theirs = _seconds(_THEIRS, rounds[_THEIRS])
    return [
        Comparison(
            names[side], what, "s", _seconds(side, rounds[side]), (theirs,), None if side == _CLIENT else target, checks
        )
        for side in names
        if side in rounds
    ]


def _seconds(side: str, of_side: Sequence[Round]) -> Samples:
    phases = {phase: tuple(one.found["phases"][phase] for one in of_side) for phase in of_side[0].found["phases"]}
    phases["total"] = tuple(one.seconds for one in of_side)
    return Samples(side, phases["score"], max(one.peak_bytes for one in of_side), phases)


def _memory(side: str, rounds: Mapping[str, Sequence[Round]]) -> Samples:
    return Samples(side, tuple(one.peak_bytes / 2**20 for one in rounds[side]))
