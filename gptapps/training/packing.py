"""Lessons laid one behind the other, and which of them an update learns from.

Symbols: T tokens of a pack, N tokens that are learned.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from gptapps.training.lessons import Lesson

_WORTH_SHARING = 8  # tokens


class Readable(Protocol):
    """What a schedule has to know of a lesson."""

    @property
    def target(self) -> tuple[int, ...]:
        """What is learned of it."""

    @property
    def weight(self) -> float:
        """What the loss of each of those is multiplied by."""

    @property
    def read(self) -> int:
        """Tokens that the model reads."""


L = TypeVar("L", bound=Readable)


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """Lessons that are read together, without seeing each other and without padding.

    Attributes:
        tokens: (T,) ids.
        opening: how many tokens all lessons begin with, which stand in front once.
        texts: how many tokens each lesson has behind those; T in all with them.
        places: (N,) the tokens behind which something is learned.
        targets: (N,) what is learned there.
        weights: (N,) what its loss is multiplied by.
    """

    tokens: Tensor
    opening: int
    texts: tuple[int, ...]
    places: Tensor
    targets: Tensor
    weights: Tensor


class Updates(Protocol):
    """What each update learns from, whatever that is made of; the same whenever it is asked."""

    @property
    def updates(self) -> int:
        """How many there are."""

    @property
    def updates_per_epoch(self) -> int:
        """How many take everything once."""

    def amount(self, update: int) -> tuple[float, int]:
        """Return the weight of all targets of an update, counted from 0, and how many there are."""

    def packs(self, update: int, process: int = 0) -> Sequence[Pack]:
        """Return a process's packs of an update; none where it has no share."""


class Schedule(Generic[L]):
    """Which lessons each update learns from; the same for the same arguments, whenever it is asked.

    Args:
        lessons: all of them; each epoch takes them in another order.
        batch_size: lessons of an update, over all processes.
        max_tokens: the most tokens of a pack; a longer lesson has one of its own.
        epochs: how often all lessons are taken.
        seed: of the orders.
        packed: lays lessons one behind the other.
        processes: that share the work of each update.
    """

    def __init__(
        self,
        lessons: Sequence[L],
        *,
        batch_size: int,
        max_tokens: int,
        epochs: int,
        seed: int,
        packed: Callable[[Sequence[L]], Pack],
        processes: int = 1,
    ) -> None:
        self._lessons = lessons
        self._batch_size, self._max_tokens = batch_size, max_tokens
        self._seed, self._processes, self._packed = seed, processes, packed
        self.updates_per_epoch = -(-len(lessons) // batch_size)
        self.updates = epochs * self.updates_per_epoch
        self._order: tuple[int, list[int]] = (-1, [])

    def lessons_of(self, update: int) -> list[L]:
        """Return the lessons of an update, counted from 0."""
        epoch, number = divmod(update, self.updates_per_epoch)
        if self._order[0] != epoch:
            order = list(range(len(self._lessons)))
            random.Random(f"{self._seed} {epoch}").shuffle(order)
            self._order = (epoch, order)
        places = self._order[1][number * self._batch_size : (number + 1) * self._batch_size]
        return [self._lessons[place] for place in places]

    def amount(self, update: int) -> tuple[float, int]:
        """Return the weight of all targets of an update, and how many there are."""
        lessons = self.lessons_of(update)
        return sum(lesson.weight * len(lesson.target) for lesson in lessons), sum(len(one.target) for one in lessons)

    def packs(self, update: int, process: int = 0) -> list[Pack]:
        """Return a process's packs of an update; a process that gets no lesson gets an empty list."""
        shares: list[list[L]] = [[] for _ in range(self._processes)]
        for lesson in sorted(self.lessons_of(update), key=lambda lesson: -lesson.read):
            min(shares, key=lambda share: sum(one.read for one in share)).append(lesson)
        return [self._packed(lessons) for lessons in _grouped(shares[process], self._max_tokens)]


def pack(lessons: Sequence[Lesson], *, share_opening: bool = False) -> Pack:
    """Lay lessons one behind the other.

    Args:
        lessons: at least one.
        share_opening: let what all of them begin with stand once, in front.

    Example:
        >>> pack([Lesson((1, 2), (3, 4)), Lesson((5,), (6,))]).tokens
        tensor([1, 2, 3, 5])
    """
    texts = [(*lesson.prompt, *lesson.target[:-1]) for lesson in lessons]
    opening = _opening(texts) if share_opening else 0
    tokens = list(texts[0][:opening])
    places: list[int] = []
    for lesson, text in zip(lessons, texts, strict=True):
        start = len(tokens) - opening  # where the lesson would begin if the opening stood in front of it
        said = range(len(lesson.prompt) - 1, len(text))
        places += (place if place < opening else start + place for place in said)
        tokens += text[opening:]
    return Pack(
        torch.tensor(tokens),
        opening,
        tuple(len(text) - opening for text in texts),
        torch.tensor(places),
        torch.tensor([token for lesson in lessons for token in lesson.target]),
        torch.tensor([lesson.weight for lesson in lessons for _ in lesson.target]),
    )


def packs_of(lessons: Sequence[L], max_tokens: int, packed: Callable[[Sequence[L]], Pack]) -> list[Pack]:
    """Return all lessons in packs, the longest first; none where there are no lessons.

    Args:
        lessons: which.
        max_tokens: the most tokens of a pack; a longer lesson has one of its own.
        packed: lays lessons one behind the other.
    """
    return [packed(group) for group in _grouped(sorted(lessons, key=lambda lesson: -lesson.read), max_tokens)]


def _opening(texts: Sequence[tuple[int, ...]]) -> int:
    """Return how many tokens all texts begin with, each of which keeps one at least; 0 where that saves little."""
    first, last = min(texts), max(texts)
    shared = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    shared = min(shared, min(map(len, texts)) - 1)
    return shared if len(texts) > 1 and shared >= _WORTH_SHARING else 0


def _grouped(lessons: Sequence[L], max_tokens: int) -> list[list[L]]:
    groups: list[list[L]] = []
    room = 0
    for lesson in lessons:
        if not groups or lesson.read > room:
            groups.append([])
            room = max_tokens
        groups[-1].append(lesson)
        room -= lesson.read
    return groups
