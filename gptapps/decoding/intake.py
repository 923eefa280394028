"""Taking requests from an iterable that may fail in the middle, without losing what was taken before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Intake(Generic[T]):
    """Takes items ahead of their turn and keeps an error of the source until they are done.

    A bad row in the middle of a file then costs nothing that stood before it.

    Args:
        source: where items come from.

    Attributes:
        exhausted: nothing more comes.
    """

    def __init__(self, source: Iterable[T]) -> None:
        self._source: Iterator[T] = iter(source)
        self._error: Exception | None = None
        self.exhausted = False

    def take(self, count: int) -> list[T]:
        """Return up to ``count`` items; fewer at the end, and before an error."""
        items: list[T] = []
        if self.exhausted:
            return items
        try:
            for item in islice(self._source, count):
                items.append(item)  # noqa: PERF402 (what came before an error has to be kept)
        except Exception as error:
            self._error = error
        self.exhausted = self._error is not None or len(items) < count
        return items

    def raise_error(self) -> None:
        """Raise the source's error, now that everything before it is done."""
        if self._error is not None:
            raise self._error


class LookAhead(Generic[T]):
    """Numbers items, from 0, and takes them a bounded way ahead of the first that isn't done.

    Args:
        source: where items come from; see :class:`Intake` for its errors.
        most: items from the first that isn't done on that may have been taken.
    """

    def __init__(self, source: Iterable[T], most: int) -> None:
        self._intake = Intake(source)
        self._most = most
        self._taken = 0
        self._first = 0  # that isn't done
        self._early: set[int] = set()

    def take(self) -> list[tuple[int, T]]:
        """Return as many items as may be taken now, each with its number."""
        items = self._intake.take(self._most - (self._taken - self._first))
        numbered = list(enumerate(items, self._taken))
        self._taken += len(items)
        return numbered

    def finish(self, number: int) -> None:
        """Note that an item is done."""
        self._early.add(number)
        while self._first in self._early:
            self._early.remove(self._first)
            self._first += 1

    def raise_error(self) -> None:
        """Raise the source's error, now that everything before it is done."""
        self._intake.raise_error()
