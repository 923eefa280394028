"""Attention over a prefix and over what follows it, merged."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.peers import compiled, plain
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Inputs, Operation, Pass, Setting
from gptapps import kernels
from gptapps.kernels import reference

_CHECKED = ((2, 3, 5, 64), (1, 4, 7, 80), (3, 2, 33, 256), (1, 2, 9, 16), (0, 2, 4, 64))
_CHECKED_DRY = ((2, 3, 5, 16), (1, 2, 3, 24))
_TIMED = ((8, 32, 512, 128), (8, 9, 512, 64))


def _inputs(draw: Draw, batch: int, heads: int, tokens: int, size: int) -> Inputs:
    parts = []
    for _ in range(2):
        log_sums = draw.normal(batch, heads, tokens, 1).float()
        parts += [draw.normal(batch, tokens, heads, size).float().transpose(1, 2), log_sums]
    if batch:
        parts[1][0, :, 0] = -torch.inf  # a query that sees nothing of one side
        parts[0][0, :, 0] = 0.0
    return tuple(parts)


def _ours(out_a: Tensor, log_a: Tensor, out_b: Tensor, log_b: Tensor) -> tuple[Tensor, Tensor]:
    return kernels.merge_attention((out_a, log_a), (out_b, log_b))


def _plain(out_a: Tensor, log_a: Tensor, out_b: Tensor, log_b: Tensor) -> tuple[Tensor, Tensor]:
    return reference.merge_attention((out_a, log_a), (out_b, log_b))


def _setting(batch: int, heads: int, tokens: int, size: int) -> Setting:
    return Setting(
        name=f"B {batch}, H {heads}, T {tokens}, D {size}",
        make=partial(_inputs, batch=batch, heads=heads, tokens=tokens, size=size),
        ours=_ours,
        plain=_plain,
        learned=(),
    )


def _settings(dry_run: bool) -> list[Setting]:
    return [_setting(*size) for size in (_CHECKED_DRY if dry_run else _CHECKED)]


def _cases(dry_run: bool) -> list[Case]:
    found = []
    for size in _CHECKED_DRY[:1] if dry_run else _TIMED:
        batch, heads, tokens, channels = size
        found.append(
            Case(
                setting=_setting(*size),
                costs={Pass.FORWARD: Cost(3 * 4 * batch * heads * tokens * (channels + 1))},
                peers={"torch": plain(_plain), "torch.compile": compiled(_plain)},
            )
        )
    return found


MERGE = Operation("attention merge", ("merge_attention",), settings=_settings, cases=_cases)
