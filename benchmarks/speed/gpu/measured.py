"""What a run found out: checks, and times beside what bounds them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.gpu.roofline import Ceilings, Cost
from benchmarks.speed.measuring import Samples


@dataclass(frozen=True, slots=True)
class Checked:
    """An operation beside the plain one in float64.

    Attributes:
        operation, setting, dtype: what was checked.
        error: the largest of any row of any output or gradient; None where there is none to tell.
        tolerance: the largest that is explained by rounding.
        problem: why it counts as wrong; None where it is right.
    """

    operation: str
    setting: str
    dtype: str
    error: float | None
    tolerance: float
    problem: str | None

    def __str__(self) -> str:
        return f"{self.operation}, {self.setting}, {self.dtype}: {self.problem or 'right'}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One piece of work, timed on all sides.

    Attributes:
        subject: what is done, such as ``"attention forward"``.
        size: on what.
        cost: of one run, on which ``share`` stands.
        ours: gptapps' samples in seconds, one entry for each of its ways to do it.
        peers: those of the others; ratios to the first are what targets mean.
        counts: whether targets look at it.
        left_out: peers that took no part, and why.
        checks: how it was made sure that all sides did the same work.
    """

    subject: str
    size: str
    cost: Cost
    ours: tuple[Samples, ...]
    peers: tuple[Samples, ...]
    counts: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Samples:
        """The fastest of gptapps' ways."""
        return min(self.ours, key=lambda samples: samples.median)

    def peer(self, name: str) -> Samples | None:
        """Return the samples of the peer of this name; None where it took no part."""
        return next((samples for samples in self.peers if samples.side == name), None)

    def speedup(self, name: str | None = None) -> float | None:
        """Return a peer's median over the best of ours: above 1 where gptapps is faster.

        Args:
            name: which peer's; None for the first.
        """
        peer = next(iter(self.peers), None) if name is None else self.peer(name)
        return None if peer is None else peer.median / self.best.median

    def described(self, ceilings: Ceilings) -> dict[str, Any]:
        """Return everything as it is written to the file."""
        return {
            "subject": self.subject,
            "size": self.size,
            "bytes": self.cost.bytes,
            "operations": self.cost.operations,
            "floor_seconds": self.cost.floor(ceilings),
            "bound": self.cost.bound(ceilings),
            "ours": [self._side(samples, ceilings) for samples in self.ours],
            "peers": [
                {**self._side(samples, ceilings), "speedup": _rounded(samples.median / self.best.median)}
                for samples in self.peers
            ],
            "counts_for_targets": self.counts,
            "left_out": dict(self.left_out),
            "checks": dict(self.checks),
        }

    def _side(self, samples: Samples, ceilings: Ceilings) -> dict[str, Any]:
        return {
            "side": samples.side,
            "median": samples.median,
            "spread": _rounded(spread(samples)),
            "share": _rounded(self.cost.share(samples.median, ceilings)),
            "samples": list(samples.values),
            "peak_bytes": samples.peak_bytes,
        }


def spread(samples: Samples) -> float:
    """Return how far the middle half of the samples lies apart, as a part of the median."""
    if len(samples.values) < 2:
        return 0.0
    lower, _, upper = statistics.quantiles(samples.values, n=4, method="inclusive")
    return (upper - lower) / samples.median


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
