"""Several processes that torchrun started for one training: the first one leads, the others join in the learning."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from gptapps.errors import OptionError

_PAUSE = 0.2  # seconds between two looks


def leads() -> bool:
    """Return whether this process is the only one or the first of several, the one that writes and tells."""
    return os.environ.get("RANK", "0") == "0"


def require_shardable(options: Mapping[str, Any]) -> None:
    """Refuse to spread weights over processes where that can't be done.

    Raises:
        OptionError: ``shard`` is asked for in one process, or with a precision that it doesn't go with.
    """
    if not options.get("shard"):
        return
    if os.environ.get("WORLD_SIZE", "1") == "1":
        raise OptionError(
            "shard spreads the weights over several processes, and this is one: start it with "
            "`torchrun --nproc-per-node 2 -m gptapps …`, or leave shard out."
        )
    if options.get("precision") == "fp16":  # each process would choose a scale of its own
        raise OptionError("shard doesn't go with the precision fp16: choose bf16 or no.")


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for what the first process does alone; where it fails, torchrun ends the others."""
    while not done():
        time.sleep(_PAUSE)
