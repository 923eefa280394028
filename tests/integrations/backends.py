"""The harness's own ``hf`` backend, and what its requests look like."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Requests = Callable[[str, Sequence[tuple[Any, ...]]], list[Any]]
"""Makes requests of a kind from their arguments."""


def their_backend(directory: Path, **arguments: Any) -> Any:
    """Return the harness's ``hf`` backend for a directory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the harness and what it imports are not ours to mend
        from lm_eval.models.huggingface import HFLM

        return HFLM(str(directory), device="cpu", dtype="float32", **arguments)
