"""Which examples train and which validate: a share split off, or folds. Pure functions over indices.

Both keep the labels' proportions, and both keep examples of one group on one side, so that nothing which is learned
is asked for again in validation.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from gptapps.errors import OptionError


@dataclass(frozen=True, slots=True)
class Fold:
    """Indices of examples, in their order; none is in both."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


def stratified_folds(
    labels: Sequence[Hashable], folds: int, seed: int, groups: Sequence[Hashable] | None = None
) -> tuple[Fold, ...]:
    """Cut examples into ``folds`` parts, each of which validates once while the others train.

    Args:
        labels: one for each example; their proportions are kept. The same everywhere where there are none.
        folds: how many, from 2 on.
        seed: of the order in which examples are dealt.
        groups: one for each example; those of one group stay together. By default each is its own.

    Returns:
        A :class:`Fold` for each part. Without groups, parts differ by one example at most, and so do the counts of
        each label in them.

    Raises:
        OptionError: fewer than two folds, or more than there are groups.

    Example:
        >>> [fold.validation for fold in stratified_folds("aabb", 2, seed=0)]
        [(0, 2), (1, 3)]
    """
    units = _units(labels, groups)
    if folds < 2:
        raise OptionError(f"folds is {folds}, but has to be 2 or above.")
    if folds > len(units):
        raise OptionError(f"{folds} folds are asked for, but there are {len(units)} different examples: take fewer.")
    parts: list[list[int]] = [[] for _ in range(folds)]
    for stratum in _shuffled_strata(units, labels, seed):
        held = [0] * folds
        for unit in stratum:
            part = min(range(folds), key=lambda number: (held[number], len(parts[number])))
            held[part] += len(unit)
            parts[part] += unit
    return tuple(_fold(part, len(labels)) for part in parts)


def split_off(labels: Sequence[Hashable], share: float, seed: int, groups: Sequence[Hashable] | None = None) -> Fold:
    """Set a share of the examples aside for validation.

    Args:
        labels: one for each example; their proportions are kept as far as every label keeps an example to train on.
        share: of all examples, above 0 and below 1.
        seed: of the draw.
        groups: as for :func:`stratified_folds`.

    Returns:
        Both parts, neither of them empty. Without groups, validation has the share rounded to whole examples, or
        fewer where labels have too few to give.

    Raises:
        OptionError: a share outside of that, or fewer than two groups.

    Example:
        >>> split_off("aaaabbbb", 0.25, seed=0)
        Fold(train=(0, 1, 3, 5, 6, 7), validation=(2, 4))
    """
    if not 0 < share < 1:
        raise OptionError(f"The share for validation is {share:g}, but has to be above 0 and below 1.")
    units = _units(labels, groups)
    if len(units) < 2:
        raise OptionError("One example, however often it occurs, can't be split into training and validation.")
    strata = _shuffled_strata(units, labels, seed)
    wanted = min(max(round(share * len(labels)), 1), len(labels) - 1)
    taken: list[int] = []
    for stratum, quota in zip(strata, _quotas(strata, wanted), strict=True):
        held = 0
        for unit in stratum[:-1] if len(stratum) > 1 else ():  # the last one stays to be trained on
            if abs(held + len(unit) - quota) < abs(held - quota):
                held += len(unit)
                taken += unit
    if not taken:
        taken = min((stratum[0] for stratum in strata), key=len)
    return _fold(taken, len(labels))


def _units(labels: Sequence[Hashable], groups: Sequence[Hashable] | None) -> list[list[int]]:
    if groups is None:
        return [[index] for index in range(len(labels))]
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return list(members.values())


def _shuffled_strata(units: Sequence[list[int]], labels: Sequence[Hashable], seed: int) -> list[list[list[int]]]:
    """Return the units by the label of their first example, each label's in an order that the seed draws."""
    strata: dict[Hashable, list[list[int]]] = {}
    for unit in units:
        strata.setdefault(labels[unit[0]], []).append(unit)
    draw = random.Random(seed)
    for stratum in strata.values():
        draw.shuffle(stratum)
    return list(strata.values())


def _quotas(strata: Sequence[Sequence[Sequence[int]]], wanted: int) -> list[int]:
    """Share ``wanted`` examples out among the strata, each in proportion, by the largest remainder."""
    sizes = [sum(map(len, stratum)) for stratum in strata]
    exact = [wanted * size / sum(sizes) for size in sizes]
    quotas = [min(int(share), size - 1) for share, size in zip(exact, sizes, strict=True)]
    order = sorted(range(len(sizes)), key=lambda number: quotas[number] - exact[number])
    while sum(quotas) < wanted and (open_ones := [number for number in order if quotas[number] < sizes[number] - 1]):
        for number in open_ones[: wanted - sum(quotas)]:
            quotas[number] += 1
    return quotas


def _fold(validation: Sequence[int], count: int) -> Fold:
    held = frozenset(validation)
    return Fold(tuple(index for index in range(count) if index not in held), tuple(sorted(held)))
