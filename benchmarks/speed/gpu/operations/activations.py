"""GELU and its kin, and the gated ones: SwiGLU and GEGLU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.peers import compiled, liger, plain
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Inputs, Operation, Pass, Peer, Setting
from gptapps import kernels

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
}
_GATED = {"SwiGLU": "silu", "GEGLU": "gelu_tanh"}
_CHECKED = ((5, 48), (3, 1536), (7, 1001), (0, 16), (4, 14336))
_CHECKED_DRY = ((3, 40), (0, 16))
_TIMED = ((8192, 14336), (16384, 8192), (16384, 1536))
_COUNTING = 2


def _normal(draw: Draw, rows: int, channels: int) -> Inputs:
    return (draw.normal(rows, channels, scale=2.0),)


def _plain_gated(gate_and_up: Tensor, name: str) -> Tensor:
    gate, up = gate_and_up.chunk(2, -1)
    return _PLAIN[name](gate) * up


def _activation(name: str, rows: int, channels: int) -> Setting:
    return Setting(
        name=f"{name}, {rows} x {channels}",
        make=partial(_normal, rows=rows, channels=channels),
        ours=partial(kernels.plain_activation, name=name),
        plain=_PLAIN[name],
        learned=(0,),
    )


def _gated(label: str, rows: int, channels: int) -> Setting:
    return Setting(
        name=f"{label}, {rows} x {channels}",
        make=partial(_normal, rows=rows, channels=2 * channels),
        ours=partial(kernels.gated_activation, name=_GATED[label]),
        plain=partial(_plain_gated, name=_GATED[label]),
        learned=(0,),
    )


def _split(function: str, lib: object) -> object:
    apply = getattr(lib, function)

    def run(gate_and_up: Tensor) -> Tensor:
        out: Tensor = apply(*(half.contiguous() for half in torch.chunk(gate_and_up, 2, -1)))
        return out

    return run


def _gated_peers(label: str) -> dict[str, Peer]:
    right = partial(_plain_gated, name=_GATED[label])
    name = {"SwiGLU": "liger_swiglu", "GEGLU": "liger_geglu"}[label]
    return {
        "torch": plain(right),
        "torch.compile": compiled(right),
        "Liger": liger(lambda lib: _split(name, lib)),  # type: ignore[arg-type,return-value]
    }


def _plain_peers(name: str) -> dict[str, Peer]:
    return {"torch": plain(_PLAIN[name]), "torch.compile": compiled(_PLAIN[name])}


def _settings(dry_run: bool) -> list[Setting]:
    sizes = _CHECKED_DRY if dry_run else _CHECKED
    return [
        *(_activation(name, *size) for size in sizes for name in _PLAIN),
        *(_gated(label, *size) for size in sizes for label in _GATED),
    ]


def _cases(dry_run: bool) -> list[Case]:
    found = []
    for place, (rows, channels) in enumerate(((4, 32),) if dry_run else _TIMED):
        tensor = rows * channels * (4 if dry_run else 2)
        for label in _GATED:
            costs = {Pass.FORWARD: Cost(3 * tensor), Pass.BACKWARD: Cost(5 * tensor)}
            found.append(Case(_gated(label, rows, channels), costs, _gated_peers(label), place < _COUNTING))
        costs = {Pass.FORWARD: Cost(2 * tensor), Pass.BACKWARD: Cost(3 * tensor)}
        found.append(Case(_activation("gelu", rows, channels), costs, _plain_peers("gelu"), place < _COUNTING))
    return found


ACTIVATIONS = Operation("activation", ("plain_activation", "gated_activation"), settings=_settings, cases=_cases)
