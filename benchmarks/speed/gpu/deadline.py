"""A run's time: what doesn't fit any more is left out, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.speed.measuring import say


class Deadline:
    """The end of a run, or of a part of it.

    Args:
        seconds: from now on.
        clock: returns seconds; only differences count.

    Attributes:
        left_out: what didn't fit, in the order in which it was asked for; a part shares its whole's.

    Example:
        >>> deadline = Deadline(480)                                     # doctest: +SKIP
        >>> if deadline.allows("attention, 16384 tokens", 2.0): ...      # doctest: +SKIP
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self.left_out: list[str] = []

    @property
    def left(self) -> float:
        """Seconds to the end; below 0 behind it."""
        return self._end - self._clock()

    def part(self, seconds: float) -> Deadline:
        """Return the deadline of a part that may take ``seconds``, and never longer than the whole."""
        part = Deadline(min(seconds, self.left), self._clock)
        part.left_out = self.left_out
        return part

    def allows(self, what: str, seconds: float) -> bool:
        """Say whether ``what``, which takes about ``seconds``, still fits; where it doesn't, it is left out."""
        if seconds <= self.left:
            return True
        self.left_out.append(what)
        say(f"left out, as {max(self.left, 0):.0f} s are left and it takes about {seconds:.0f}: {what}")
        return False
