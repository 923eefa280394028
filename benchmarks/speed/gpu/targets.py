"""What is asked of gptapps on an H100 in bfloat16, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.speed.gpu.measured import Measured
from benchmarks.speed.gpu.operations.loss import ALL_LOGITS
from benchmarks.speed.gpu.peers import FLASH
from benchmarks.speed.gpu.roofline import Ceilings

Verdict = Literal["met", "missed", "not measured"]
_Found = Sequence[Measured]
_Value = Callable[[Measured, Ceilings], float | None]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that every piece of work it is about has to keep.

    Attributes:
        what: one line.
        unit: of the values.
        relation: to the bound.
        bound: the number that is asked for.
        subjects: what a piece of work's subject begins with, any of them.
        value: what is compared with the bound; None where it wasn't measured.
        sizes: words of which a piece's size has to contain one; empty for all sizes.
    """

    what: str
    unit: str
    relation: Literal["at least", "at most"]
    bound: float
    subjects: tuple[str, ...]
    value: _Value
    sizes: tuple[str, ...] = ()

    def worst(self, found: _Found, ceilings: Ceilings) -> float | None:
        """Return the value of the piece of work that is furthest from the bound; None where there is none."""
        values = [
            value
            for one in found
            if one.counts and one.subject.startswith(self.subjects)
            if not self.sizes or any(word in one.size for word in self.sizes)
            if (value := self.value(one, ceilings)) is not None
        ]
        return None if not values else min(values) if self.relation == "at least" else max(values)

    def verdict(self, found: _Found, ceilings: Ceilings) -> Verdict:
        """Return whether the worst value reaches the bound."""
        worst = self.worst(found, ceilings)
        if worst is None:
            return "not measured"
        return "met" if (worst >= self.bound if self.relation == "at least" else worst <= self.bound) else "missed"


def _teraflops(one: Measured, ceilings: Ceilings) -> float:
    return one.cost.operations / one.best.median / 1e12


def _over_flash(one: Measured, ceilings: Ceilings) -> float | None:
    return one.speedup(FLASH)


def _over_first(one: Measured, ceilings: Ceilings) -> float | None:
    return one.speedup()


def _copy_share(one: Measured, ceilings: Ceilings) -> float:
    return one.cost.bytes / one.best.median / ceilings.copy


def _time_over_all_logits(one: Measured, ceilings: Ceilings) -> float | None:
    speedup = one.speedup(ALL_LOGITS)
    return None if speedup is None else 1 / speedup


def _memory_over_all_logits(one: Measured, ceilings: Ceilings) -> float | None:
    peer = one.peer(ALL_LOGITS)
    if peer is None or not peer.peak_bytes or one.best.peak_bytes is None:
        return None
    return one.best.peak_bytes / peer.peak_bytes


_FORWARD, _BACKWARD = ("attention forward",), ("attention backward",)
_LOSS = ("linear cross-entropy",)

TARGETS = (
    Target(
        "attention forward, D 128, causal, 8192 and 16384 tokens",
        "TFLOP/s",
        "at least",
        400,
        _FORWARD,
        _teraflops,
        ("T 8192", "T 16384"),
    ),
    Target(
        "attention forward, D 128, causal, 4096 tokens", "TFLOP/s", "at least", 330, _FORWARD, _teraflops, ("T 4096",)
    ),
    Target("attention forward, against SDPA's flash backend", "x", "at least", 1.0, _FORWARD, _over_flash),
    Target("attention backward, against SDPA's flash backend", "x", "at least", 0.9, _BACKWARD, _over_flash),
    Target("decode attention", "of copy bandwidth", "at least", 0.8, ("decode attention",), _copy_share),
    Target("norms", "of copy bandwidth", "at least", 0.85, ("norm",), _copy_share),
    Target("activations", "of copy bandwidth", "at least", 0.85, ("activation",), _copy_share),
    Target("linear cross-entropy, memory", f"of {ALL_LOGITS}", "at most", 0.2, _LOSS, _memory_over_all_logits),
    Target("linear cross-entropy, time", f"of {ALL_LOGITS}", "at most", 1.1, _LOSS, _time_over_all_logits),
    Target("decoding one text, 135M", "x transformers", "at least", 5.0, ("decoding",), _over_first, ("135M, B 1,",)),
    Target(
        "decoding one text, 7B layout", "x transformers", "at least", 1.4, ("decoding",), _over_first, ("7B, B 1,",)
    ),
    Target("training step", "x transformers", "at least", 1.3, ("training step",), _over_first),
)
"""Of the pieces of work that count, the worst one decides."""
