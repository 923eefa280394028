"""What is done out of turn: parts go back to what they are of, and results into order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
W = TypeVar("W")
P = TypeVar("P")
R = TypeVar("R")


def in_order(finished: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Yield numbered results in the order of their numbers, which count from 0, each as early as that allows.

    Raises:
        ValueError: a number comes twice, or never, though a later one does.

    Example:
        >>> list(in_order([(1, "b"), (0, "a"), (2, "c")]))
        ['a', 'b', 'c']
    """
    early: dict[int, T] = {}
    following = 0
    for number, one in finished:
        if number < following or number in early:
            raise ValueError(f"the result {number} comes twice")
        early[number] = one
        while following in early:
            yield early.pop(following)
            following += 1
    if early:
        raise ValueError(f"the result {following} never came, but the result {min(early)} did")


def gathered(
    wholes: Iterable[W],
    parts: Callable[[W], Sequence[P]],
    work: Callable[[Iterator[P]], Iterator[tuple[int, R]]],
) -> Iterator[tuple[int, W, list[R]]]:
    """Work on the parts of many wholes together, and yield each whole as soon as all of its parts are done.

    Args:
        wholes: taken only as far as ``work`` asks for parts.
        parts: of a whole, one at least.
        work: takes parts and yields their numbers, from 0, with their results, in any order.

    Raises:
        ValueError: a whole without parts.

    Yields:
        The whole's number, from 0, itself, and the results of its parts in their order.

    Example:
        >>> backwards = lambda words: reversed([(n, word.upper()) for n, word in enumerate(words)])
        >>> list(gathered(["to be", "or"], str.split, backwards))
        [(1, 'or', ['OR']), (0, 'to be', ['TO', 'BE'])]
    """
    owners: dict[int, tuple[int, int]] = {}  # of each part that isn't done: its whole, and which part of it
    waiting: dict[int, tuple[W, int, dict[int, R]]] = {}

    def all_parts() -> Iterator[P]:
        count = 0
        for number, whole in enumerate(wholes):
            several = parts(whole)
            if not several:
                raise ValueError(f"the whole {number} has no parts")
            waiting[number] = whole, len(several), {}
            for place, part in enumerate(several):
                owners[count] = number, place
                count += 1
                yield part

    for part, result in work(all_parts()):
        number, place = owners.pop(part)
        whole, size, found = waiting[number]
        found[place] = result
        if len(found) == size:
            del waiting[number]
            yield number, whole, [found[place] for place in range(size)]
