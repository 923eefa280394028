"""A side's own process, seen from inside: jobs come as JSON lines on standard input, results go back the same way.

Imports next to nothing, for starting the process is part of what is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


class Laps:
    """Seconds that one part of a job after the other took, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap as that of ``name``."""
        now = time.perf_counter()
        self.seconds[name] = now - self._since
        self._since = now


def serve(side: object) -> None:
    """Do jobs until standard input ends; each is a method's name and its arguments.

    Whatever the libraries print goes to standard error, so that results stand alone on standard output.
    """
    results = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        job = json.loads(line)
        value = getattr(side, job["method"])(**job["arguments"])
        results.write(json.dumps({"value": value, "peak_bytes": peak_bytes()}) + "\n")
        results.flush()


def peak_bytes() -> int:
    """Return the most memory that this process held at once since it was started."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        # Unlike ru_maxrss it doesn't begin with what the parent held when it forked.
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
