"""Learning a LoRA in float32: useful target tokens a second and memory, beside transformers with peft.

Both sides learn from the same token ids in the same updates, with the same optimizer and as many learned numbers. The
peer pads its batches and projects every token onto the vocabulary, as it does wherever it is used; a useful token is
one of a summary, which is what is learned.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.speed.measuring import OURS, BenchmarkError, Comparison, Samples, Target, interleaved, say
from benchmarks.speed.process import SideProcess
from benchmarks.speed.settings import Settings

FILE = "summarization/scitldr/train.jsonl"
EXAMPLES_PER_UPDATE = 8
ROWS = 72
"""Nine updates, the first of which doesn't count."""
TIE = 1e-3
"""The first loss, before anything is learned, has to be the same on both sides."""

Updates = list[list[dict[str, list[int]]]]
"""For each update the token ids of its lessons: ``prompt`` and ``target``."""

_THEIRS = "transformers + peft"
_LEARNING = {"rank": 16, "learning_rate": 2e-4, "weight_decay": 0.01}


def lora(settings: Settings) -> list[Comparison]:
    """Measure both sides, each round in a process of its own.

    Raises:
        BenchmarkError: no data, or the sides begin with another loss.
    """
    if settings.data_root is None or not (settings.data_root / FILE).is_file():
        raise BenchmarkError(f"lora needs data: give the folder that holds {FILE} with --data-root.")
    with (settings.data_root / FILE).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in itertools.islice(lines, settings.questions or ROWS)]
    pairs = [{"text": row["document"], "summary": row["summary"]} for row in rows]
    with SideProcess("benchmarks.speed.fine_tuning_ours", settings.threads) as side:
        updates = side.call(
            "updates", model=settings.ours, rows=pairs, examples=EXAMPLES_PER_UPDATE, threads=settings.threads
        )
    say(f"lora: {len(updates)} updates of {EXAMPLES_PER_UPDATE} summaries")
    common = {"updates": updates, "threads": settings.threads, **_LEARNING}
    jobs = {
        OURS: ("benchmarks.speed.fine_tuning_ours", {**common, "model": settings.ours}),
        _THEIRS: ("benchmarks.speed.fine_tuning_theirs", {**common, "model": settings.safetensors}),
    }
    rounds = interleaved(
        {name: partial(_round, name, *job, threads=settings.threads) for name, job in jobs.items()},
        settings.rounds,
        settings.warmups,
    )
    return _comparisons(rounds, updates)


def learned(losses: Sequence[float], moments: Sequence[float], updates: Updates) -> dict[str, Any]:
    """Return what a side reports: its losses, and the seconds and targets of all updates but the first.

    Args:
        losses: of each update.
        moments: when each was done, in seconds.
        updates: what both sides learn from: the prompts and targets of each.
    """
    return {
        "losses": list(losses),
        "seconds": moments[-1] - moments[0],
        "targets": sum(len(one["target"]) for update in updates[1:] for one in update),
    }


def check_first_losses(losses: Mapping[str, float]) -> float:
    """Return by how much the sides' first losses differ.

    Raises:
        BenchmarkError: by more than rounding explains.
    """
    difference = max(losses.values()) - min(losses.values())
    if difference > TIE:
        told = ", ".join(f"{side} {loss:.4f}" for side, loss in losses.items())
        raise BenchmarkError(f"The sides don't learn the same: their first losses are {told}.")
    return difference


def _round(name: str, module: str, arguments: Mapping[str, Any], threads: int) -> dict[str, Any]:
    with SideProcess(module, threads) as side:
        found: dict[str, Any] = side.call("learn", **arguments)
        found["peak_bytes"] = side.peak_bytes
    say(f"  {name}: {found['targets'] / found['seconds']:.1f} targets/s, {found['peak_bytes'] / 2**20:.0f} MiB")
    return found


def _comparisons(rounds: Mapping[str, list[dict[str, Any]]], updates: Updates) -> list[Comparison]:
    lessons = [lesson for update in updates for lesson in update]
    checks = {
        "first_loss_differs_by": check_first_losses(
            {name: of_side[0]["losses"][0] for name, of_side in rounds.items()}
        ),
        "last_losses": {name: of_side[0]["losses"][-1] for name, of_side in rounds.items()},
        "examples": len(lessons),
        "read_tokens": sum(len(one["prompt"]) + len(one["target"]) for one in lessons),
        "target_tokens": sum(len(one["target"]) for one in lessons),
        **_LEARNING,
    }

    def samples(name: str, unit: str) -> Samples:
        runs = rounds[name]
        if unit == "MiB":
            return Samples(name, tuple(run["peak_bytes"] / 2**20 for run in runs))
        return Samples(
            name, tuple(run["targets"] / run["seconds"] for run in runs), max(run["peak_bytes"] for run in runs)
        )

    return [
        Comparison(
            name="LoRA, SciTLDR",
            what="useful target tokens learned a second, behind the first update",
            unit="tokens/s",
            ours=samples(OURS, "tokens/s"),
            peers=(samples(_THEIRS, "tokens/s"),),
            target=Target("ratio", "at least", 1.4),
            checks=checks,
        ),
        Comparison(
            name="LoRA, SciTLDR, memory",
            what="the most memory that the process held at once, mapped files among it",
            unit="MiB",
            ours=samples(OURS, "MiB"),
            peers=(samples(_THEIRS, "MiB"),),
            target=Target("ratio", "at most", 0.7),
        ),
    ]
