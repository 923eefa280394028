"""From starting the process to 20 new tokens after a text of 150 words, the model being on the disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.speed.measuring import OURS, BenchmarkError, Comparison, Samples, Target, interleaved, say
from benchmarks.speed.process import SideProcess
from benchmarks.speed.settings import Settings
from benchmarks.speed.texts import STARTUP_TEXT

NEW_TOKENS = 20


@dataclass(frozen=True, slots=True)
class Start:
    """One start of one side."""

    seconds: float
    peak_bytes: int
    found: Mapping[str, Any]  # prompt, tokens, phases


def run(settings: Settings) -> list[Comparison]:
    """Measure both sides; transformers once from safetensors, which is the peer, and once from the GGUF file.

    Raises:
        BenchmarkError: the sides read or wrote different tokens.
    """
    say("startup: from starting a process to its tokens")
    sides = {
        OURS: ("benchmarks.speed.ours", settings.ours),
        "transformers, safetensors": ("benchmarks.speed.theirs", settings.safetensors),
    }
    if settings.gguf is not None:
        sides["transformers, GGUF"] = ("benchmarks.speed.theirs", settings.gguf)

    def start_of(module: str, model: str) -> Start:
        started = time.perf_counter()
        with SideProcess(module, settings.threads) as side:
            found = side.call(
                "continue_text", model=model, text=STARTUP_TEXT, new_tokens=NEW_TOKENS, threads=settings.threads
            )
            return Start(time.perf_counter() - started, side.peak_bytes, found)

    starts = interleaved(
        {name: partial(start_of, module, model) for name, (module, model) in sides.items()},
        settings.rounds,
        settings.warmups,
    )
    check_same_tokens(starts)
    samples = [_samples(name, of_side) for name, of_side in starts.items()]
    prompt = starts[OURS][0].found["prompt"]
    return [
        Comparison(
            name="startup",
            what=f"seconds from starting the process to {NEW_TOKENS} greedy tokens after a text of 150 words",
            unit="s",
            ours=samples[0],
            peers=tuple(samples[1:]),
            target=Target("ratio", "at most", 0.55),
            checks={"prompt_tokens": len(prompt), "new_tokens": NEW_TOKENS, "same_tokens": True},
        )
    ]


def check_same_tokens(starts: Mapping[str, Sequence[Start]]) -> None:
    """Refuse to compare sides that did not do the same work.

    Raises:
        BenchmarkError: a prompt or a continuation differs from gptapps' first, or is not as long as asked.
    """
    expected = starts[OURS][0].found
    if len(expected["tokens"]) != NEW_TOKENS:
        raise BenchmarkError(f"{OURS} wrote {len(expected['tokens'])} tokens instead of {NEW_TOKENS}.")
    for name, of_side in starts.items():
        for start in of_side:
            for part in ("prompt", "tokens"):
                if start.found[part] != expected[part]:
                    raise BenchmarkError(
                        f"The {part} of {name} differ from those of {OURS}: {start.found[part]} and {expected[part]}."
                    )


def _samples(name: str, starts: Sequence[Start]) -> Samples:
    phases = starts[0].found["phases"]
    return Samples(
        name,
        tuple(start.seconds for start in starts),
        max(start.peak_bytes for start in starts),
        {phase: tuple(start.found["phases"][phase] for start in starts) for phase in phases},
    )
