"""Cross-entropy straight from hidden states, beside making all logits."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.peers import liger, plain
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Function, Inputs, Operation, Pass, Peer, Setting
from gptapps import kernels

IGNORED = -100
ALL_LOGITS = "logits + cross_entropy"
_CHECKED = ((7, 64, 211), (130, 96, 1000), (300, 576, 49152))
_CHECKED_DRY = ((5, 16, 37),)
_OPTIONS: tuple[dict[str, Any], ...] = ({}, {"label_smoothing": 0.1, "z_loss": 1e-3}, {"logit_cap": 5.0})
_TIMED = ((32768, 2048, 49152), (8192, 4096, 128256), (16384, 576, 49152))
_COUNTING = 1


def _inputs(draw: Draw, tokens: int, channels: int, words: int, ignored: bool) -> Inputs:
    targets = draw.integers(words, tokens)
    if ignored:
        targets[::3] = IGNORED
    return draw.normal(tokens, channels), draw.normal(words, channels, scale=channels**-0.5), targets


def _plain(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logit_cap: float | None = None,
) -> Tensor:
    logits = hidden @ weight.T
    if logit_cap is not None:
        logits = logit_cap * torch.tanh(logits / logit_cap)
    loss = F.cross_entropy(logits, targets, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum")
    kept = targets != IGNORED
    return loss + z_loss * logits.logsumexp(1).square()[kept].sum()


def _all_logits(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), targets, ignore_index=IGNORED, reduction="sum")


def _all_logits_in_float32(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, ignore_index=IGNORED, reduction="sum")


def _native(inputs: Inputs) -> Function:
    function: Any = getattr(F, "linear_cross_entropy", None)
    options: Any = getattr(torch.nn, "LinearCrossEntropyOptions", None)
    if function is None or options is None:
        raise NotImplementedError(f"PyTorch {torch.__version__} has no F.linear_cross_entropy.")
    return partial(function, reduction="sum", ignore_index=IGNORED, options=options())


def _liger(lib: Any) -> Function:
    def run(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        found = lib.liger_fused_linear_cross_entropy(hidden, weight, targets, ignore_index=IGNORED, reduction="sum")
        loss: Tensor = found[0] if isinstance(found, tuple) else found
        return loss

    return run


_PEERS: dict[str, Peer] = {
    ALL_LOGITS: plain(_all_logits),
    f"{ALL_LOGITS} in float32": plain(_all_logits_in_float32),
    "F.linear_cross_entropy": _native,
    "Liger": liger(_liger),
}


def _setting(tokens: int, channels: int, words: int, options: dict[str, Any], *, ignored: bool) -> Setting:
    told = "".join(f", {name} {value:g}" for name, value in options.items())
    return Setting(
        name=f"{tokens} tokens, C {channels}, V {words}{told}{', a third ignored' if ignored else ''}",
        make=partial(_inputs, tokens=tokens, channels=channels, words=words, ignored=ignored),
        ours=partial(kernels.linear_cross_entropy, ignore_index=IGNORED, **options),
        plain=partial(_plain, **options),
        learned=(0, 1),
        slack=2.0,
    )


def _settings(dry_run: bool) -> list[Setting]:
    sizes = _CHECKED_DRY if dry_run else _CHECKED
    return [_setting(*size, options, ignored=True) for size in sizes for options in _OPTIONS]


def _cases(dry_run: bool) -> list[Case]:
    return [
        Case(
            setting=_setting(tokens, channels, words, {}, ignored=False),
            costs={
                Pass.BOTH: Cost(
                    bytes=2 * (4 if dry_run else 2) * channels * (tokens + words),
                    operations=6 * tokens * channels * words,
                )
            },
            peers=_PEERS,
            counts=place < _COUNTING,
            is_exhaustive=False,
        )
        for place, (tokens, channels, words) in enumerate(((6, 16, 50),) if dry_run else _TIMED)
    ]


LOSS = Operation("linear cross-entropy", ("linear_cross_entropy",), settings=_settings, cases=_cases)
