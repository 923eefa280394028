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
