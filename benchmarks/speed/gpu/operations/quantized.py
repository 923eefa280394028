"""Linear layers with weights of 8 or 4 bits, at the few tokens of a decoding step."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Function, Inputs, Operation, Pass, Setting
from gptapps import kernels
from gptapps.kernels import QuantizedWeight, dequantize_weight, quantize_weight

Bits = Literal[4, 8]
Shape = tuple[int, int, int]
"""N, C, F."""
_BITS: tuple[Bits, ...] = (8, 4)
_CHECKED: tuple[Shape, ...] = (
    (1, 576, 1536),
    (3, 100, 77),
    (8, 4096, 512),
    (16, 1536, 576),
    (40, 256, 130),
    (0, 64, 32),
)
_CHECKED_DRY: tuple[Shape, ...] = ((2, 64, 24),)
_TIMED: tuple[Shape, ...] = ((1, 4096, 14336), (8, 4096, 14336), (1, 14336, 4096), (1, 576, 1536))


def _inputs(draw: Draw, shape: Shape, bits: Bits) -> Inputs:
    tokens, channels, features = shape
    x = draw.normal(tokens, channels)
    quantized = quantize_weight(draw.normal(features, channels, scale=channels**-0.5), bits=bits)
    return x, quantized.values, quantized.scales


def _group(values: Tensor, scales: Tensor) -> int:
    # As `quantize_weight` chooses it: a row of 8-bit weights shares a scale, 64 of 4 bits do.
    return values.shape[1] if scales.shape[1] == 1 and values.dtype.is_signed else 64


def _ours(x: Tensor, values: Tensor, scales: Tensor) -> Tensor:
    return kernels.quantized_linear(x, QuantizedWeight(values, scales, _group(values, scales)))


def _plain(x: Tensor, values: Tensor, scales: Tensor) -> Tensor:
    return F.linear(x, dequantize_weight(QuantizedWeight(values, scales, _group(values, scales))).to(x.dtype))


def _unquantized(inputs: Inputs) -> Function:
    x, values, scales = inputs
    weight = dequantize_weight(QuantizedWeight(values, scales, _group(values, scales))).to(x.dtype)
    return lambda x, *_: F.linear(x, weight)


def _setting(shape: Shape, bits: Bits) -> Setting:
    return Setting(
        name=f"{shape[0]} tokens, {shape[1]} to {shape[2]}, {bits} bits",
        make=partial(_inputs, shape=shape, bits=bits),
        ours=_ours,
        plain=_plain,
    )


def _settings(dry_run: bool) -> list[Setting]:
    return [_setting(shape, bits) for shape in (_CHECKED_DRY if dry_run else _CHECKED) for bits in _BITS]


def _cases(dry_run: bool) -> list[Case]:
    element = 4 if dry_run else 2
    found = []
    for shape in _CHECKED_DRY if dry_run else _TIMED:
        tokens, channels, features = shape
        for bits in _BITS:
            scales = 4 * features * (1 if bits == 8 else -(-channels // 64))
            read = features * channels * bits // 8 + scales + element * tokens * (channels + features)
            cost = Cost(read, 2 * tokens * channels * features)
            found.append(Case(_setting(shape, bits), {Pass.FORWARD: cost}, {"F.linear, unquantized": _unquantized}))
    return found


QUANTIZED = Operation(
    "quantized linear", ("quantized_linear", "quantize_weight", "dequantize_weight"), settings=_settings, cases=_cases
)
