"""LayerNorm and RMSNorm, alone and with the residual sum in front of them."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.peers import compiled, liger, plain
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Function, Inputs, Operation, Pass, Peer, Setting
from gptapps import kernels

_EPSILON = 1e-5
_CHECKED = ((3, 64), (7, 576), (5, 1000), (0, 64), (33, 4096), (4, 16384))
_CHECKED_DRY = ((3, 64), (2, 100), (0, 16))
_TIMED = ((16384, 4096), (16384, 2048), (16384, 576), (4096, 16384))
_COUNTING = 2
"""So many of the timed sizes count for targets: those that outlast a launch by far."""


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    return kernels.rms_norm(x, weight, _EPSILON)


def _plain_rms(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, _EPSILON)


def _layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return kernels.layer_norm(x, weight, bias, _EPSILON)


def _plain_layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias, _EPSILON)


def _add_rms(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return kernels.add_rms_norm(x, residual, weight, _EPSILON)


def _plain_add_rms(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = x + residual
    return _plain_rms(total, weight), total


def _add_layer(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return kernels.add_layer_norm(x, residual, weight, bias, _EPSILON)


def _plain_add_layer(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    total = x + residual
    return _plain_layer(total, weight, bias), total


def _inputs(rows: int, channels: int, *, wide: int, narrow: int) -> Callable[[Draw], Inputs]:
    def make(draw: Draw) -> Inputs:
        return (
            *(draw.normal(rows, channels) for _ in range(wide)),
            *(draw.normal(channels, scale=0.5) + 1 for _ in range(narrow)),
        )

    return make


def _strided(draw: Draw) -> Inputs:
    return draw.normal(6, 2, 96)[:, 1], draw.normal(96)


_KINDS: dict[str, tuple[Function, Function, int, int]] = {  # name -> ours, plain, wide inputs, narrow inputs
    "RMSNorm": (_rms, _plain_rms, 1, 1),
    "LayerNorm": (_layer, _plain_layer, 1, 2),
    "residual + RMSNorm": (_add_rms, _plain_add_rms, 2, 1),
    "residual + LayerNorm": (_add_layer, _plain_add_layer, 2, 2),
}
_PEERS: dict[str, dict[str, Peer]] = {
    "RMSNorm": {
        "F.rms_norm": plain(_plain_rms),
        "Liger": liger(lambda lib: lambda x, w: lib.liger_rms_norm(x, w, _EPSILON, in_place=False)),
    },
    "LayerNorm": {
        "F.layer_norm": plain(_plain_layer),
        "Liger": liger(lambda lib: lambda x, w, b: lib.liger_layer_norm(x, w, b, _EPSILON)),
    },
    "residual + RMSNorm": {
        "add, F.rms_norm": plain(_plain_add_rms),
        "torch.compile": compiled(_plain_add_rms),
        "Liger": liger(lambda lib: lambda x, r, w: lib.liger_fused_add_rms_norm(x, r, w, _EPSILON, in_place=False)),
    },
    "residual + LayerNorm": {
        "add, F.layer_norm": plain(_plain_add_layer),
        "torch.compile": compiled(_plain_add_layer),
    },
}


def _setting(kind: str, rows: int, channels: int) -> Setting:
    ours, right, wide, narrow = _KINDS[kind]
    return Setting(
        name=f"{kind}, {rows} x {channels}",
        make=_inputs(rows, channels, wide=wide, narrow=narrow),
        ours=ours,
        plain=right,
        learned=tuple(range(wide + narrow)),
    )


def _settings(dry_run: bool) -> list[Setting]:
    sizes = _CHECKED_DRY if dry_run else _CHECKED
    strided = Setting("RMSNorm, rows that lie apart", _strided, _rms, _plain_rms, (0, 1))
    return [*(_setting(kind, *size) for size in sizes for kind in _KINDS), strided]


def _cases(dry_run: bool) -> list[Case]:
    return [
        Case(
            setting=_setting(kind, rows, channels),
            costs=_costs(rows * channels * (4 if dry_run else 2), wide=_KINDS[kind][2]),
            peers=_PEERS[kind],
            counts=place < _COUNTING,
        )
        for place, (rows, channels) in enumerate(((4, 32),) if dry_run else _TIMED)
        for kind in _KINDS
    ]


def _costs(tensor: int, *, wide: int) -> dict[Pass, Cost]:
    """Forward reads what there is and writes as much; backward reads as many gradients and the sum, and writes one."""
    return {Pass.FORWARD: Cost(2 * wide * tensor), Pass.BACKWARD: Cost((wide + 2) * tensor)}


NORMS = Operation(
    "norm", ("layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm"), settings=_settings, cases=_cases
)
