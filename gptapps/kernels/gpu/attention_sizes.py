"""Tiles of the attention kernels: the largest that keep to the registers, by size of a head, dtype and architecture.

What they take of registers and shared memory is pinned in the tests; sizes on paper, not yet tuned on a GPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gptapps.kernels.gpu.launching import architecture, next_power_of_2

_SMALLEST = 16  # that a matrix instruction takes


class Sizes(NamedTuple):
    """Queries and keys of a tile, warps of a program, and tiles that are loaded ahead."""

    block_m: int
    block_n: int
    warps: int
    stages: int


def padded_head(size: int) -> int:
    """Return the power of two to which the channels of a head are filled up."""
    return max(int(next_power_of_2(size)), _SMALLEST)


def forward_sizes(q: Tensor, longest: int) -> Sizes:
    """Return the sizes for heads as in ``q`` and rows of at most ``longest`` queries."""
    size, hopper = padded_head(q.shape[-1]), architecture(q.device) >= 90
    if q.dtype == torch.float32:
        return Sizes(64, 32, 8, 2) if size <= 64 else Sizes(32, 16, 8, 2) if size == 128 else Sizes(16, 32, 8, 1)
    if longest <= 64:
        block_m = _at_most(64, longest)
        return Sizes(block_m, 64, 4, 2) if size <= 128 else Sizes(block_m, 32, 8 if block_m == 64 else 4, 2)
    if size <= 64:
        return Sizes(128, 64, 4, 3) if hopper else Sizes(128, 64, 8, 3)
    if size == 128:
        return Sizes(128, 64, 8, 3) if hopper else Sizes(128, 64, 8, 2)
    return Sizes(128, 32, 8, 2) if hopper else Sizes(64, 32, 8, 2)


def backward_key_sizes(q: Tensor, longest: int) -> Sizes:
    """Return the sizes for the pass over keys, whose tile stays, of rows of at most ``longest`` keys."""
    size = padded_head(q.shape[-1])
    if q.dtype == torch.float32:
        return Sizes(32, 32, 8, 1) if size <= 128 else Sizes(16, 16, 8, 1)
    return Sizes(32, _at_most(128, longest), 8, 2) if size <= 128 else Sizes(32, 32, 8, 1)


def backward_query_sizes(q: Tensor, longest: int) -> Sizes:
    """Return the sizes for the pass over queries, whose tile stays, of rows of at most ``longest`` queries."""
    size, hopper = padded_head(q.shape[-1]), architecture(q.device) >= 90
    if q.dtype == torch.float32:
        return Sizes(32, 32, 8, 1) if size <= 64 else Sizes(32, 16, 8, 1) if size == 128 else Sizes(16, 16, 8, 1)
    if size <= 64:
        return Sizes(_at_most(128, longest), 64, 8, 3)
    if size == 128:
        return Sizes(_at_most(128, longest), 64 if hopper else 32, 8, 2)
    return Sizes(64, 32, 8, 2 if hopper else 1)


def _at_most(block: int, longest: int) -> int:
    return min(block, max(int(next_power_of_2(longest)), _SMALLEST))
