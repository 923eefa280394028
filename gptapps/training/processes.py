"""Several processes that torchrun started for one training: the first one leads, the others join in the learning."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_PAUSE = 0.2  # seconds between two looks


def leads() -> bool:
    """Return whether this process is the only one or the first of several, the one that writes and tells."""
    return os.environ.get("RANK", "0") == "0"


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for what the first process does alone; where it fails, torchrun ends the others."""
    while not done():
        time.sleep(_PAUSE)
