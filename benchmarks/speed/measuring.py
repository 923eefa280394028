"""What every benchmark shares: taking turns, medians, the description of the machine, the table and the file.

A benchmark is a function ``Settings -> list[Comparison]`` in a module of its own.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

ROOT = Path(__file__).resolve().parents[2]
OURS = "gptapps"
_PACKAGES = ("gptapps", "torch", "transformers", "tokenizers", "safetensors", "numpy", "lm-eval", "peft", "accelerate")

T = TypeVar("T")


class BenchmarkError(Exception):
    """The two sides can't be compared; the message says why."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What one side showed.

    Attributes:
        side: who, such as ``"gptapps"``.
        values: one number a round, in the comparison's unit.
        peak_bytes: the most memory its process held at once, mapped files among it; None where not measured.
        phases: seconds of each round that a part of the work took, by its name.
    """

    side: str
    values: tuple[float, ...]
    peak_bytes: int | None = None
    phases: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of gptapps: its median, or its ratio to the first peer, against a bound."""

    quantity: Literal["ratio", "median"]
    relation: Literal["at most", "at least"]
    bound: float

    def __str__(self) -> str:
        return f"{self.quantity} {self.relation} {self.bound:g}"

    def is_met(self, comparison: Comparison) -> bool:
        """Return whether the comparison reaches it."""
        value = comparison.ours.median if self.quantity == "median" else comparison.ratio(comparison.peers[0])
        return value <= self.bound if self.relation == "at most" else value >= self.bound


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing measured on both sides in one run.

    Attributes:
        name: short, for the table.
        what: one sentence on what a value is.
        unit: of the values, ``"s"`` or ``"tokens/s"``.
        ours: gptapps' samples.
        peers: those of the others; the first one is what the target means.
        target: what is asked of gptapps.
        checks: what was found out about both sides doing the same work.
    """

    name: str
    what: str
    unit: str
    ours: Samples
    peers: tuple[Samples, ...]
    target: Target | None = None
    checks: Mapping[str, Any] = field(default_factory=dict)

    def ratio(self, peer: Samples) -> float:
        """Return gptapps' median divided by the peer's."""
        return self.ours.median / peer.median


def interleaved(sides: Mapping[str, Callable[[], T]], rounds: int, warmups: int) -> dict[str, list[T]]:
    """Let the sides take turns, A B A B …, so that a slow minute of the machine falls on all of them.

    Args:
        sides: what each does in a round.
        rounds: how often, beyond the warm-ups.
        warmups: first rounds whose results are dropped.

    Returns:
        Each side's results, one a round.
    """
    results: dict[str, list[T]] = {side: [] for side in sides}
    for number in range(-warmups, rounds):
        for side, work in sides.items():
            result = work()
            if number >= 0:
                results[side].append(result)
    return results


def environment() -> dict[str, Any]:
    """Describe the machine and the versions; nothing in it names the machine or a place on it."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
    }


def table(comparisons: Sequence[Comparison]) -> str:
    """Return the results as text: a line a side, the ratio beside each peer."""
    lines = [("benchmark", "side", "median", "lowest", "highest", "peak MiB", "ratio", "target")]
    for comparison in comparisons:
        for samples in (comparison.ours, *comparison.peers):
            ours = samples is comparison.ours
            lines.append(
                (
                    f"{comparison.name}, {comparison.unit}" if ours else "",
                    samples.side,
                    f"{samples.median:.3f}",
                    f"{min(samples.values):.3f}",
                    f"{max(samples.values):.3f}",
                    "" if samples.peak_bytes is None else f"{samples.peak_bytes / 2**20:.0f}",
                    "" if ours else f"{comparison.ratio(samples):.3f}",
                    _verdict(comparison) if ours else "",
                )
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def report(comparisons: Sequence[Comparison], settings: Mapping[str, Any], where: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything measured, as it is written to the file.

    Args:
        comparisons: the results.
        settings: of the run.
        where: from :func:`environment`, taken before the run.
    """
    return {
        "date": date.today().isoformat(),
        "settings": dict(settings),
        "environment": dict(where),
        "results": [_described(comparison) for comparison in comparisons],
    }


def write(values: Mapping[str, Any], file: Path) -> None:
    """Write a report as JSON; folders that are missing are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def say(message: str) -> None:
    """Tell the person at the terminal how far things are."""
    print(message, file=sys.stderr, flush=True)


def _described(comparison: Comparison) -> dict[str, Any]:
    return {
        "name": comparison.name,
        "what": comparison.what,
        "unit": comparison.unit,
        "ours": _samples(comparison.ours),
        "peers": [{**_samples(peer), "ratio": round(comparison.ratio(peer), 4)} for peer in comparison.peers],
        "target": None if comparison.target is None else str(comparison.target),
        "met": None if comparison.target is None else comparison.target.is_met(comparison),
        "checks": dict(comparison.checks),
    }


def _samples(samples: Samples) -> dict[str, Any]:
    return {
        "side": samples.side,
        "median": round(samples.median, 4),
        "samples": [round(value, 4) for value in samples.values],
        "peak_bytes": samples.peak_bytes,
        "phases": {
            name: {"median": round(statistics.median(values), 4), "samples": [round(value, 4) for value in values]}
            for name, values in samples.phases.items()
        },
    }


def _verdict(comparison: Comparison) -> str:
    if comparison.target is None:
        return ""
    return f"{comparison.target}: {'met' if comparison.target.is_met(comparison) else 'missed'}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
