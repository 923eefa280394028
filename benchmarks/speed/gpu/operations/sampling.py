"""Drawing the next token of many rows from their logits."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.peers import plain
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Inputs, Operation, Pass, Setting
from gptapps import kernels
from gptapps.kernels import reference_sampling

Rules = tuple[float, int, float, float]
"""Temperature, top-k, top-p and min-p."""
_RULES: tuple[Rules, ...] = ((0.0, 0, 1.0, 0.0), (1.0, 0, 1.0, 0.0), (0.8, 50, 0.95, 0.0), (1.3, 0, 0.9, 0.02))
_CHECKED = ((1, 257), (5, 1000), (4, 49152))
_CHECKED_DRY = ((2, 50),)
_TIMED = ((8, 49152), (1, 128256), (64, 128256))


def _inputs(draw: Draw, rows: int, words: int, rules: Rules, *, wide: bool) -> Inputs:
    logits = draw.normal(rows, words, scale=3.0)
    temperature, top_k, top_p, min_p = (
        torch.tensor(rule, device=draw.device).expand(rows).contiguous() for rule in rules
    )
    steps = torch.arange(rows, device=draw.device)
    return logits.float() if wide else logits, temperature, top_k, top_p, min_p, draw.integers(2**40, rows), steps


def _ours(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor]:
    return kernels.sample(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seeds=seeds, steps=steps
    )


def _setting(rows: int, words: int, rules: Rules, *, wide: bool = False) -> Setting:
    temperature, top_k, top_p, min_p = rules
    return Setting(
        name=f"{rows} rows, V {words}, temperature {temperature:g}, top-k {top_k}, top-p {top_p:g}, min-p {min_p:g}",
        make=partial(_inputs, rows=rows, words=words, rules=rules, wide=wide),
        ours=_ours,
        plain=reference_sampling.sample,
    )


def _settings(dry_run: bool) -> list[Setting]:
    return [_setting(*size, rules) for size in (_CHECKED_DRY if dry_run else _CHECKED) for rules in _RULES]


def _cases(dry_run: bool) -> list[Case]:
    return [
        Case(
            setting=_setting(rows, words, rules, wide=True),
            costs={Pass.FORWARD: Cost(4 * rows * words)},
            peers={"torch, by sorting": plain(reference_sampling.sample)},
        )
        for rows, words in (_CHECKED_DRY if dry_run else _TIMED)
        for rules in (_RULES[2], _RULES[0])
    ]


SAMPLING = Operation("sampling", ("sample",), settings=_settings, cases=_cases)
