"""Choosing features and a penalty by cross-validation on the training data."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from gptapps.heads.features import Features
from gptapps.training.data import TrainingData, gold_labels, groups_of
from gptapps.training.folds import Fold, stratified_folds
from gptapps.training.head_method import HeadSettings
from gptapps.training.methods import Progress

Selected = tuple[Features, float, list[dict[str, Any]]]
"""Features, penalty, and how all that was tried did."""

FEW_PENALTY = 1.0  # where there are too few examples to choose by


def selected(
    settings: HeadSettings,
    *,
    criterion: str,
    by_features: Callable[[Features], float],
    by_penalty: Callable[[Features], Mapping[float, float]],
    progress: Progress | None,
) -> Selected:
    """Return the features that score best, and of them the best penalty; of equals the first, and the strongest.

    Args:
        settings: what there is to choose from.
        criterion: what the scores are called.
        by_features: how good some features are over folds.
        by_penalty: how good each penalty is with some features.
        progress: told how many features were tried.
    """
    several, table = list(candidates(settings.features)), []
    chosen = several[0]
    if len(several) > 1:
        scores: list[float] = []
        for features in several:
            scores.append(by_features(features))
            if progress is not None:
                progress("choosing a layer", len(scores), len(several))
        chosen = several[scores.index(max(scores))]
        table = [
            {"layers": list(features.layers), "poolings": list(features.poolings), criterion: score}
            for features, score in zip(several, scores, strict=True)
        ]
    if len(settings.penalties) == 1:
        return chosen, settings.penalties[0], table
    found = by_penalty(chosen)
    table += [{"penalty": penalty, criterion: score} for penalty, score in sorted(found.items())]
    return chosen, max(sorted(found, reverse=True), key=found.__getitem__), table


def unselected(settings: HeadSettings) -> Selected:
    """Return what is taken where there are too few examples to choose by: the middle of everything."""
    layers, penalties = settings.features.layers, settings.penalties
    middle = Features((layers[len(layers) // 2],), settings.features.poolings)
    return middle, min(penalties, key=lambda penalty: max(penalty / FEW_PENALTY, FEW_PENALTY / penalty)), []


def candidates(features: Features) -> Iterator[Features]:
    """Yield each layer with each pooling alone, and with all of them.

    Example:
        >>> [one.poolings for one in candidates(Features((20,), ("last", "mean")))]
        [('last',), ('mean',), ('last', 'mean')]
    """
    for layer in features.layers:
        for count in sorted({1, len(features.poolings)}):
            for poolings in combinations(features.poolings, count):
                yield Features((layer,), poolings)


def some_of(count: int, most: int, seed: int) -> list[int]:
    """Return which of ``count`` examples are looked at: all, or as many as ``most`` drawn by the seed."""
    return list(range(count)) if count <= most else sorted(random.Random(seed).sample(range(count), most))


def selection_folds(data: TrainingData, some: Sequence[int], most: int, seed: int) -> tuple[Fold, ...]:
    """Return folds of some of the training examples; none where a label has too few to be in each of two.

    Args:
        data: the training data.
        some: which of its examples to learn from.
        most: folds; fewer where a label has fewer examples.
        seed: of the folds.
    """
    items = [data.train[place] for place in some]
    several = data.evaluator.kind == "label_sets"  # of which none stands for the others
    labels = [""] * len(items) if several else gold_labels(data, items)
    originals: dict[str, Hashable] = {}  # a copy that augmentation made has its original's place and stays with it
    for item, group in zip(items, groups_of(data.evaluator, items), strict=True):
        originals.setdefault(item.where, group)
    groups = [originals[item.where] for item in items]
    fewest = min(Counter(label for label, _ in set(zip(labels, groups, strict=True))).values())
    return stratified_folds(labels, min(most, fewest), seed, groups) if fewest >= 2 else ()
