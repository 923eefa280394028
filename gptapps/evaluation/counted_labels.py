"""Labels counted against labels, for runs whose examples all choose from the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptapps.metrics.confusion import ConfusionMatrix, confusion_matrix
from gptapps.outputs import Choice, Classification, Output

_MOST_LABELS = 60


def counted_labels(
    outputs: Sequence[Output], golds: Sequence[Any], labels: Sequence[str] | None, *, seed: int
) -> ConfusionMatrix | None:
    """Return the confusion matrix of a run, or None where its examples differ in what there is to choose from.

    Args:
        outputs: what the model said, one an example.
        golds: what is right.
        labels: the labels in the order wanted; None for sorted.
        seed: of the bootstrap.
    """
    chosen = [output for output in outputs if isinstance(output, Classification | Choice)]
    if len(chosen) < len(outputs) or len({frozenset(output.scores) for output in chosen}) != 1:
        return None
    known = labels or sorted(chosen[0].scores)
    if len(known) > _MOST_LABELS or not set(golds) <= set(known):
        return None
    predicted = [output.label if isinstance(output, Classification) else output.text for output in chosen]
    return confusion_matrix(predicted, golds, known, seed=seed)
