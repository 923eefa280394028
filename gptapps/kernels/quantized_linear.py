"""A linear layer whose weights are held in 8 or 4 bits, for decoding, which waits for the weights to be read.

Symbols: N tokens, C channels, F features, Q columns that share a scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gptapps.errors import OptionError
from gptapps.kernels.dispatch import Impl, is_chosen, launches, needs_operator, uses_triton

MOST_ROWS = (
    64  # that the kernel takes at once; for more the widened matrix is multiplied, unless Triton was chosen by name
)
LEAST_GROUP = 32  # of columns: half of them, which is what a half byte's place holds, fill a matrix product


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A matrix (F, C) of small integers, each of which stands for itself times its group's scale.

    Attributes:
        values: (F, C) int8; or (F, C / 2) uint8, which hold integers from -8 to 7 plus 8, the even columns in the lower
            halves of the bytes.
        scales: (F, C / Q rounded up).
        group: Q; C for one scale a row.
    """

    values: Tensor
    scales: Tensor
    group: int

    @property
    def bits(self) -> int:
        """What a weight takes, without its scale."""
        return 8 if self.values.dtype == torch.int8 else 4


def quantize_weight(weight: Tensor, *, bits: Literal[4, 8], group: int | None = None) -> QuantizedWeight:
    """Round a matrix to integers of 8 or 4 bits, its largest value in each group exactly representable.

    Args:
        weight: (F, C).
        bits: of an integer.
        group: columns that share a scale, a power of two from 32 on; None for the whole row with 8 bits, 64 with 4.

    Raises:
        OptionError: the group is none of these, or 4 bits don't fill the bytes of an odd number of columns.

    Example:
        >>> quantized = quantize_weight(torch.tensor([[1.0, -2.0]]), bits=8)
        >>> dequantize_weight(quantized)
        tensor([[ 1.0079, -2.0000]])

    Source: Dettmers et al. 2022 (LLM.int8()), section 2; groups and the range of 4 bits: GGUF's Q4_0.
    """
    columns = weight.shape[1]
    if group is None:
        group = columns if bits == 8 else 64
    elif group < LEAST_GROUP or group & (group - 1):
        raise OptionError(f"Groups of {group} columns can't share a scale: use a power of two from {LEAST_GROUP} on.")
    if bits == 4 and columns % 2:
        raise OptionError(f"A matrix of {columns} columns doesn't fill bytes with 4 bits each: use 8 bits.")
    groups = -(-columns // group)
    grouped = F.pad(weight.float(), (0, groups * group - columns)).view(len(weight), groups, group)
    if bits == 8:
        scales = grouped.abs().amax(-1) / 127
    else:  # there is one negative integer more, and the value farthest from 0 gets it, whatever its sign
        scales = grouped.gather(-1, grouped.abs().argmax(-1, keepdim=True)).squeeze(-1) / -8
    divisors = torch.where(scales == 0, 1.0, scales).unsqueeze(-1)
    least, most = (-127, 127) if bits == 8 else (-8, 7)
    integers = (grouped / divisors).round().clamp(least, most).view(len(weight), -1)[:, :columns]
    if bits == 8:
        return QuantizedWeight(integers.to(torch.int8), scales, group)
    halves = (integers + 8).to(torch.uint8)
    return QuantizedWeight(halves[:, ::2] | halves[:, 1::2] << 4, scales, group)


def dequantize_weight(weight: QuantizedWeight) -> Tensor:
    """Return the float32 matrix (F, C) that ``weight`` stands for."""
    return _dequantize(weight.values, weight.scales, weight.group)


def quantized_linear(
    x: Tensor, weight: QuantizedWeight, bias: Tensor | None = None, *, impl: Impl | None = None
) -> Tensor:
    """Return ``x @ weight.T + bias``, the weights read as integers and the sums in float32.

    It is for inference: the kernel has no derivative.

    Args:
        x: (..., C).
        weight: (F, C).
        bias: (F,) or None.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Returns:
        (..., F) in the type of ``x``.

    Raises:
        KernelUnavailableError: Triton was asked for and can't be had.
    """
    arguments = (x.reshape(-1, x.shape[-1]), weight.values, weight.scales, bias, weight.group)
    if not uses_triton(impl, x, weight.values, weight.scales, bias):
        out = _reference(*arguments)
    elif len(arguments[0]) > MOST_ROWS and not is_chosen(impl):  # reading the weights is the smaller part then
        out = F.linear(arguments[0], dequantize_weight(weight).to(x.dtype), bias)
    else:
        out = (_operator if needs_operator(x, bias) else _compute)(*arguments)
    return out.view(*x.shape[:-1], len(weight.values))


def _dequantize(values: Tensor, scales: Tensor, group: int) -> Tensor:
    integers = values
    if values.dtype == torch.uint8:
        integers = torch.stack((values & 15, values >> 4), -1).flatten(1).to(torch.int8) - 8
    return integers * scales.float().repeat_interleave(group, 1)[:, : integers.shape[1]]


def _reference(x: Tensor, values: Tensor, scales: Tensor, bias: Tensor | None, group: int) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    out = x.to(wide) @ _dequantize(values, scales, group).to(wide).T
    return (out if bias is None else out + bias.to(wide)).to(x.dtype)


def _compute(x: Tensor, values: Tensor, scales: Tensor, bias: Tensor | None, group: int) -> Tensor:
    if not launches(x):
        return _reference(x, values, scales, bias, group)
    from gptapps.kernels.gpu.quantized_linear import quantized_linear as launch

    if len(x) <= MOST_ROWS:
        return launch(x, values, scales, bias, group)
    blocks = (x[first : first + MOST_ROWS] for first in range(0, len(x), MOST_ROWS))
    return torch.cat([launch(rows, values, scales, bias, group) for rows in blocks])


_operator = torch.library.custom_op(
    "gptapps::quantized_linear",
    _compute,
    mutates_args=(),
    schema="(Tensor x, Tensor values, Tensor scales, Tensor? bias, int group) -> Tensor",
)


@_operator.register_fake
def _shapes(x: Tensor, values: Tensor, *_: object) -> Tensor:
    return x.new_empty((len(x), len(values)))
