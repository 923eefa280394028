"""The card that is measured, or in a dry run the CPU in its place: inputs, clock, cache and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.gpu.roofline import Ceilings
from benchmarks.speed.measuring import BenchmarkError

_FLUSHED_BYTES = 256 * 2**20  # five times the second-level cache of an H100
_FLUSHES = 4  # together about 0.4 ms, in which Python gets ahead of the card
_COPIED_BYTES = 2**31
_MATMUL_SIZE = 8192
_REPEATS = 7

Work = Callable[[], Any]


class Card:
    """Where everything is run.

    Args:
        dry_run: take the CPU and its clock instead of a CUDA device.

    Attributes:
        is_dry: whether it is the CPU.
        device: for tensors.
        dtype: in which kernels are timed and models run.

    Raises:
        BenchmarkError: there is no CUDA device, and this is no dry run.
    """

    def __init__(self, *, dry_run: bool) -> None:
        if not dry_run and not torch.cuda.is_available():
            raise BenchmarkError("PyTorch sees no CUDA device: --dry-run tries everything out on the CPU.")
        self.is_dry = dry_run
        self.device = torch.device("cpu" if dry_run else "cuda")
        self.dtype = torch.float32 if dry_run else torch.bfloat16
        self._flushed = None if dry_run else torch.empty(_FLUSHED_BYTES, dtype=torch.int8, device=self.device)

    @property
    def name(self) -> str:
        """The card's name, as its driver gives it."""
        return "CPU, dry run" if self.is_dry else torch.cuda.get_device_name(self.device)

    def synchronize(self) -> None:
        """Wait until the card has done everything."""
        if not self.is_dry:
            torch.cuda.synchronize()

    def seconds(self, work: Work) -> float:
        """Return how long the card is busy with ``work``, with cold caches.

        The flush that empties the second-level cache takes the card long enough for Python to queue the launches
        behind it, so that gaps between launches don't count.
        """
        if self._flushed is None:
            started = time.perf_counter()
            work()
            return time.perf_counter() - started
        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        for _ in range(_FLUSHES):
            self._flushed.zero_()
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def elapsed(self, work: Work) -> float:
        """Return the seconds that pass until the card has done ``work``, gaps between launches included."""
        self.synchronize()
        started = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - started

    def peak_bytes(self, work: Work) -> int | None:
        """Return how much more memory ``work`` holds at its worst than before; None on the CPU."""
        if self.is_dry:
            return None
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        self.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def release(self) -> None:
        """Give back memory that is no longer in use, and forget what was compiled for other sizes.

        PyTorch stops compiling a function after a few sizes, and would go on uncompiled.
        """
        if not self.is_dry:
            torch.compiler.reset()
            torch.cuda.empty_cache()

    def ceilings(self) -> Ceilings:
        """Measure what the card reaches at its best, on random numbers."""
        size = 256 if self.is_dry else _MATMUL_SIZE
        source = torch.empty((2**16 if self.is_dry else _COPIED_BYTES) // 4, device=self.device).normal_()
        target = torch.empty_like(source)
        copy = self._best(lambda: target.copy_(source))
        left, right = (torch.randn(size, size, device=self.device, dtype=self.dtype) for _ in range(2))
        out = torch.empty_like(left)
        matmul = self._best(lambda: torch.mm(left, right, out=out))
        return Ceilings(copy=2 * source.nbytes / copy, matmul=2 * size**3 / matmul)

    def _best(self, work: Work) -> float:
        return min(self.seconds(work) for _ in range(_REPEATS))


class Draw:
    """Random inputs on a card, the same for the same seed.

    Args:
        card: where they lie.
        dtype: of the floating-point ones.
        seed: of the generator.
    """

    def __init__(self, card: Card, dtype: torch.dtype, seed: int = 0) -> None:
        self.device, self.dtype = card.device, dtype
        self._generator = torch.Generator(card.device).manual_seed(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Return normally distributed numbers, times ``scale``."""
        drawn = torch.randn(shape, generator=self._generator, device=self.device)
        return (drawn * scale).to(self.dtype)

    def integers(self, high: int, *shape: int, low: int = 0) -> Tensor:
        """Return int64 numbers from ``low`` to below ``high``."""
        return torch.randint(low, high, shape, generator=self._generator, device=self.device)
