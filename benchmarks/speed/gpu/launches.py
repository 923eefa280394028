"""Whether an operation really ran on Triton."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Launches:
    """How many kernels were launched."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def counted() -> Iterator[Launches]:
    """Count the Triton kernels that are launched in the block, by hand or in the interpreter; none without Triton."""
    launches = Launches()
    try:
        whole: Any = importlib.import_module("triton.runtime.jit").KernelInterface
    except ImportError:
        yield launches
        return
    before = whole.__getitem__

    def launch(kernel: Any, grid: Any) -> Any:
        launches.count += 1
        return before(kernel, grid)

    whole.__getitem__ = launch
    try:
        yield launches
    finally:
        whole.__getitem__ = before
