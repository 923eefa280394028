"""Quantized blocks of GGUF files taken apart: whole numbers of at most 8 bits, a scale and an offset a group.

A value is ``scale * number + offset``, computed in float32 as the gguf package does, to the bit.

Source: the block layouts of ggml (``ggml-common.h``), as the gguf package dequantizes them.

Symbols: N blocks, G groups of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from gguf.constants import GGMLQuantizationType
from torch import Tensor

Parts = tuple[Tensor, Tensor, Tensor | None]
"""Numbers (N, G, group) int8, scales (N, G) and offsets (N, G) float32; None where all offsets are 0."""


def take_apart(blocks: Tensor, kind: GGMLQuantizationType) -> Parts:
    """Return what quantized blocks hold.

    Args:
        blocks: (N, bytes of a block) uint8.
        kind: their type.

    Raises:
        KeyError: a type that isn't in :data:`KINDS`.
    """
    return KINDS[kind](blocks)


def _q4_0(blocks: Tensor) -> Parts:
    return _nibbles(blocks[:, 2:]).sub_(8).unsqueeze(1), _half(blocks, 0), None


def _q4_1(blocks: Tensor) -> Parts:
    return _nibbles(blocks[:, 4:]).unsqueeze(1), _half(blocks, 0), _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Parts:
    return _fifth_bit(_nibbles(blocks[:, 6:]), blocks[:, 2:6]).sub_(16).unsqueeze(1), _half(blocks, 0), None


def _q5_1(blocks: Tensor) -> Parts:
    return _fifth_bit(_nibbles(blocks[:, 8:]), blocks[:, 4:8]).unsqueeze(1), _half(blocks, 0), _half(blocks, 2)


def _q8_0(blocks: Tensor) -> Parts:
    return blocks[:, 2:].contiguous().view(torch.int8).unsqueeze(1), _half(blocks, 0), None


def _q4_k(blocks: Tensor) -> Parts:
    scales, offsets = _scales_and_offsets(blocks)
    return _nibbles(blocks[:, 16:].reshape(-1, 32)).view(-1, 8, 32), scales, offsets


def _q5_k(blocks: Tensor) -> Parts:
    scales, offsets = _scales_and_offsets(blocks)
    bits = torch.arange(8, dtype=torch.uint8).view(1, 8, 1)
    fifth = ((blocks[:, 16:48].unsqueeze(1) >> bits) & 1) << 4
    numbers = _nibbles(blocks[:, 48:].reshape(-1, 32)).view(-1, 8, 32)
    return numbers | fifth.view(torch.int8), scales, offsets


def _q6_k(blocks: Tensor) -> Parts:
    low = blocks[:, :128].view(-1, 2, 1, 64)  # halves of 128 values; four stretches of 32 in each
    low = torch.cat((low & 15, low >> 4), dim=2).view(-1, 2, 4, 32)
    bits = torch.tensor([0, 2, 4, 6], dtype=torch.uint8).view(1, 1, 4, 1)
    high = ((blocks[:, 128:192].reshape(-1, 2, 1, 32) >> bits) & 3) << 4
    numbers = (low | high).view(torch.int8).sub_(32).view(-1, 16, 16)
    scales = blocks[:, 192:208].contiguous().view(torch.int8).to(torch.float32)
    return numbers, scales * _half(blocks, 208), None


def _half(blocks: Tensor, start: int) -> Tensor:
    """Return the float16 number at a place of each block as float32 (N, 1)."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).to(torch.float32)


def _nibbles(packed: Tensor) -> Tensor:
    """Return (N, 2 B) int8 for (N, B) bytes: all lower halves first, then all upper ones."""
    return torch.cat((packed & 15, packed >> 4), dim=1).view(torch.int8)


def _fifth_bit(numbers: Tensor, packed: Tensor) -> Tensor:
    bits = torch.arange(8, dtype=torch.uint8)
    fifth = ((packed.unsqueeze(2) >> bits) & 1).reshape(numbers.shape) << 4
    return numbers | fifth.view(torch.int8)


def _scales_and_offsets(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return what 12 bytes of six-bit numbers and two factors give each of eight groups: (N, 8) both."""
    first, second, third = blocks[:, 4:16].view(-1, 3, 4).unbind(1)
    scales = torch.cat((first & 63, (third & 15) | (first >> 6 << 4)), dim=1)
    least = torch.cat((second & 63, (third >> 4) | (second >> 6 << 4)), dim=1)
    return _half(blocks, 0) * scales.to(torch.float32), -(_half(blocks, 2) * least.to(torch.float32))


KINDS: Mapping[GGMLQuantizationType, Callable[[Tensor], Parts]] = MappingProxyType(
    {
        GGMLQuantizationType.Q4_0: _q4_0,
        GGMLQuantizationType.Q4_1: _q4_1,
        GGMLQuantizationType.Q5_0: _q5_0,
        GGMLQuantizationType.Q5_1: _q5_1,
        GGMLQuantizationType.Q8_0: _q8_0,
        GGMLQuantizationType.Q4_K: _q4_k,
        GGMLQuantizationType.Q5_K: _q5_k,
        GGMLQuantizationType.Q6_K: _q6_k,
    }
)
"""Types whose numbers fit 8 bits and whose groups have a scale and an offset."""
