"""Rotary positions, with pairs half a head apart or neighbours, over all channels of a head or some."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.peers import compiled, plain
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Inputs, Operation, Pass, Setting
from gptapps import kernels
from gptapps.backbone.rotary import RotaryConfig, rotary_tables
from gptapps.kernels import reference

_CHECKED = (
    (2, 5, 3, 64, 64, False),
    (1, 7, 4, 80, 80, False),
    (2, 3, 2, 128, 128, True),
    (1, 33, 2, 256, 64, True),
    (1, 9, 2, 96, 32, False),
    (0, 4, 2, 64, 64, False),
)
_CHECKED_DRY = ((2, 5, 3, 16, 16, False), (1, 4, 2, 24, 16, True))
_TIMED = ((8, 2048, 40, 128, 128, False), (8, 2048, 12, 64, 64, False))


def _inputs(draw: Draw, batch: int, tokens: int, heads: int, size: int, turned: int, interleaved: bool) -> Inputs:
    config = RotaryConfig(10_000.0, turned, interleaved=interleaved)
    places = torch.arange(tokens, device=draw.device).expand(batch, -1)
    cos, sin = rotary_tables(config, places, torch.full((batch,), tokens, device=draw.device))
    return draw.normal(batch, tokens, heads, size), cos.to(draw.dtype), sin.to(draw.dtype)


def _setting(batch: int, tokens: int, heads: int, size: int, turned: int, interleaved: bool) -> Setting:
    part = "" if turned == size else f", {turned} channels turned"
    return Setting(
        name=f"B {batch}, T {tokens}, {heads} heads, D {size}{part}{', interleaved' if interleaved else ''}",
        make=partial(
            _inputs, batch=batch, tokens=tokens, heads=heads, size=size, turned=turned, interleaved=interleaved
        ),
        ours=partial(kernels.rotary, interleaved=interleaved),
        plain=partial(reference.rotary, interleaved=interleaved),
        learned=(0,),
    )


def _settings(dry_run: bool) -> list[Setting]:
    return [_setting(*size) for size in (_CHECKED_DRY if dry_run else _CHECKED)]


def _cases(dry_run: bool) -> list[Case]:
    found = []
    for size in _CHECKED_DRY[:1] if dry_run else _TIMED:
        batch, tokens, heads, channels, turned, interleaved = size
        cost = Cost((4 if dry_run else 2) * batch * tokens * (2 * heads * channels + 2 * turned))
        right = partial(reference.rotary, interleaved=interleaved)
        found.append(
            Case(
                setting=_setting(*size),
                costs={Pass.FORWARD: cost, Pass.BACKWARD: cost},
                peers={"torch": plain(right), "torch.compile": compiled(right)},
            )
        )
    return found


ROTARY = Operation("rotary", ("rotary",), settings=_settings, cases=_cases)
