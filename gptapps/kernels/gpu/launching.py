"""What every launcher needs to know: the architecture, sizes of tiles, and whether the interpreter is on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.dispatch import interpreting

INTERPRETED = tl.constexpr(interpreting())  # Triton looks when a kernel is decorated, so once is right here
cdiv = triton.cdiv
next_power_of_2 = triton.next_power_of_2

_H100_MULTIPROCESSORS = 132
_H100_SHARED_BYTES = 233_472  # of a multiprocessor


def architecture(device: torch.device) -> int:
    """Return whose tiles fit ``device``: 90 for an H100's, 80 for smaller ones, which keep to the 99 KiB of RTX cards.

    Where kernels are only compiled, that of the target.
    """
    if device.type == "cuda":
        return _architecture(device)
    return 90 if INTERPRETED else int(triton.runtime.driver.active.get_current_target().arch)


def multiprocessors(device: torch.device) -> int:
    """Return how many programs of full size ``device`` runs at once; an H100's number where there is no GPU."""
    return _processors(device) if device.type == "cuda" else _H100_MULTIPROCESSORS


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Make the device of ``tensor`` the current one, where Triton launches."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


@cache
def _architecture(device: torch.device) -> int:
    card = torch.cuda.get_device_properties(device)
    return 90 if card.major >= 9 and card.shared_memory_per_multiprocessor >= _H100_SHARED_BYTES else 80


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


@triton.jit
def operand(x):  # type: ignore[no-untyped-def]
    """Return ``x`` as ``tl.dot`` takes it: the interpreter multiplies the bits of bfloat16 as if they were integers."""
    if INTERPRETED:
        return x.to(tl.float32)
    return x
