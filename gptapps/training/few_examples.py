"""A few examples of each label, drawn by a seed: what a task costs in labels (Gao et al. 2021, LM-BFF)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from gptapps.errors import OptionError
from gptapps.training.data import TrainingData
from gptapps.training.reading import labels_of

_NONE = ""  # stands for no label


def draw_per_label(labels: Sequence[str | tuple[str, ...]], per_label: int, seed: int) -> tuple[int, ...]:
    """Return the indices of ``per_label`` examples of each label, in their order.

    A larger number keeps what a smaller one draws, and one label's draw doesn't depend on the other labels. Of examples
    with several labels there are at least so many of each, and of those with none at most so many.

    Args:
        labels: one for each example, or several, or none.
        per_label: from 1 on.
        seed: of the draw.

    Raises:
        OptionError: fewer than one, or a label with fewer examples than that; names it.

    Example:
        >>> draw_per_label(["a", "b", "a", "b"], 1, seed=0)
        (0, 1)
    """
    if per_label < 1:
        raise OptionError(f"per_label is {per_label}, but has to be 1 or above.")
    places: dict[str, list[int]] = {}
    for index, given in enumerate(labels):
        for label in (given,) if isinstance(given, str) else given or (_NONE,):
            places.setdefault(label, []).append(index)
    drawn: set[int] = set()
    for label, indices in places.items():
        if len(indices) < per_label and label != _NONE:
            raise OptionError(
                f"{per_label} examples of each label are asked for, but {label!r} has {len(indices)}: ask for fewer."
            )
        random.Random(f"{seed} {label}").shuffle(indices)
        drawn.update(indices[:per_label])
    return tuple(sorted(drawn))


def few_examples(data: TrainingData, per_label: int, seed: int) -> TrainingData:
    """Return the data with few examples to train on; validation stays as it is.

    Raises:
        OptionError: the task has no labels, or a label has too few examples.
    """
    if not data.labels:
        raise OptionError(f"The task {data.task.id!r} has no labels to draw examples of: leave per_label out.")
    drawn = draw_per_label([labels_of(data.evaluator.gold(item.example)) for item in data.train], per_label, seed)
    return replace(data, train=tuple(data.train[index] for index in drawn))
