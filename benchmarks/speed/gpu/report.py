"""What a run found out, as it is written: JSON, and a Markdown table of the same."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.gpu.card import Card
from benchmarks.speed.gpu.measured import Measured, spread
from benchmarks.speed.gpu.roofline import Ceilings
from benchmarks.speed.gpu.run import Found
from benchmarks.speed.gpu.targets import TARGETS, Target
from benchmarks.speed.measuring import Samples

_PACKAGES = ("gptapps", "torch", "triton", "transformers", "liger-kernel", "numpy")
_HEAD = ("size", "side", "median, ms", "spread", "rate", "of the ceiling", "speedup of gptapps", "peak, MiB")


def environment(card: Card) -> dict[str, Any]:
    """Describe the card and the versions; nothing in it names the machine or a place on it."""
    return {
        "card": card.name,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
    }


def file_stem(card: Card, folder: Path) -> Path:
    """Return where a run's files go, without their endings: gpu-CARD-DATE."""
    name = re.sub(r"[^a-z0-9]+", "-", card.name.lower().removeprefix("nvidia ")).strip("-")
    return folder / f"gpu-{name}-{date.today().isoformat()}"


def described(found: Found, where: dict[str, Any]) -> dict[str, Any]:
    """Return everything as JSON holds it.

    Args:
        found: the run's.
        where: from :func:`environment`.
    """
    ceilings = found.ceilings
    return {
        "date": date.today().isoformat(),
        "environment": where,
        "ceilings": {"copy_bytes_per_second": ceilings.copy, "matmul_operations_per_second": ceilings.matmul},
        "checks": {
            "settings": len(found.checked),
            "wrong": [str(one) for one in found.wrong],
            "largest_errors": _largest_errors(found),
        },
        "targets": [
            {
                "target": target.what,
                "asked": _asked(target),
                "worst": target.worst(found.measured, ceilings),
                "verdict": target.verdict(found.measured, ceilings),
            }
            for target in TARGETS
        ],
        "results": [one.described(ceilings) for one in found.measured],
        "withheld": found.withheld,
        "left_out": found.left_out,
    }


def markdown(found: Found, where: dict[str, Any]) -> str:
    """Return the same for people: targets first, then a table for each piece of work, then what is missing."""
    ceilings = found.ceilings
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items() if version)
    lines = [
        f"# {where['card']}, {date.today().isoformat()}",
        "",
        f"Python {where['python']}, CUDA {where['cuda'] or 'none'}, {versions}.",
        "",
        f"Measured ceilings: copies {ceilings.copy / 1e12:.3g} TB/s (bytes read and written), matrix products "
        f"{ceilings.matmul / 1e12:.4g} TFLOP/s.",
        "",
        f"{len(found.checked)} settings were checked against float64, {len(found.wrong)} of them wrong.",
        *(f"- WRONG: {_cell(str(one))}" for one in found.wrong),
        "",
        *_table(("target", "asked", "worst", "verdict"), [_target_row(target, found) for target in TARGETS]),
    ]
    for subject in dict.fromkeys(one.subject for one in found.measured):
        rows = [row for one in found.measured if one.subject == subject for row in _rows(one, ceilings)]
        lines += ["", f"## {subject}", "", *_table(_HEAD, rows)]
    lines += _listed("Withheld, because it is wrong or failed", found.withheld)
    lines += _listed("Left out, because the time was up", found.left_out)
    lines += _listed("Peers that took no part", _absent(found.measured))
    return "\n".join(lines) + "\n"


def _rows(one: Measured, ceilings: Ceilings) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for samples in (*one.ours, *one.peers):
        is_ours = samples in one.ours
        rows.append(
            (
                one.size if samples is one.ours[0] else "",
                samples.side,
                f"{samples.median * 1e3:.4g}",
                f"{spread(samples):.1%}",
                _rate(one, samples, ceilings),
                f"{one.cost.share(samples.median, ceilings):.0%}",
                "" if is_ours else f"{samples.median / one.best.median:.2f}",
                "" if samples.peak_bytes is None else f"{samples.peak_bytes / 2**20:.0f}",
            )
        )
    return rows


def _rate(one: Measured, samples: Samples, ceilings: Ceilings) -> str:
    if one.cost.bound(ceilings) == "memory":
        return f"{one.cost.bytes / samples.median / 1e9:.4g} GB/s"
    return f"{one.cost.operations / samples.median / 1e12:.4g} TFLOP/s"


def _target_row(target: Target, found: Found) -> tuple[str, ...]:
    worst = target.worst(found.measured, found.ceilings)
    told = "" if worst is None else f"{worst:.3g}"
    return target.what, _asked(target), told, target.verdict(found.measured, found.ceilings)


def _asked(target: Target) -> str:
    return f"{target.relation} {target.bound:g} {target.unit}"


def _largest_errors(found: Found) -> dict[str, dict[str, float]]:
    largest: dict[str, dict[str, float]] = {}
    for one in found.checked:
        if one.error is not None:
            of_type = largest.setdefault(one.operation, {})
            of_type[one.dtype] = max(of_type.get(one.dtype, 0.0), float(f"{one.error:.3g}"))
    return largest


def _absent(measured: Sequence[Measured]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for one in measured:
        for peer, why in one.left_out.items():
            reasons.setdefault(f"{peer}: {why}", []).append(f"{one.subject}, {one.size}")
    return [
        f"{why} ({places[0]}{f' and {len(places) - 1} more' * (len(places) > 1)})" for why, places in reasons.items()
    ]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(map(_cell, line))} |" for line in lines]


def _listed(title: str, entries: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {_cell(entry)}" for entry in entries)] if entries else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
