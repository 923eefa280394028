"""How much each example counts, so that rare labels aren't drowned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from gptapps.errors import OptionError
from gptapps.evaluation.evaluators import Kind
from gptapps.metrics.confidence import FloatArray

ClassWeights = Literal["none", "balanced"]


def example_weights(labels: Sequence[Hashable], how: ClassWeights) -> FloatArray:
    """Return a weight (N,) for each example; their mean is 1.

    Args:
        labels: one for each example.
        how: ``"balanced"`` lets every label count the same in sum (King and Zeng 2001); ``"none"`` every example.

    Example:
        >>> example_weights(["a", "a", "a", "b"], "balanced").round(2).tolist()
        [0.67, 0.67, 0.67, 2.0]
    """
    if how == "none":
        return np.ones(len(labels))
    counts = Counter(labels)
    return np.array([len(labels) / (len(counts) * counts[label]) for label in labels])


def require_class_weights(how: ClassWeights, kind: Kind) -> None:
    """Refuse class weights where no example has one label.

    Args:
        how: what the option says.
        kind: what the task's examples are judged by.

    Raises:
        OptionError: they are asked for and would mean nothing.
    """
    if how != "none" and kind != "labels":
        where = (
            "one label a text, and here there may be several" if kind == "label_sets" else "labels, and here are none"
        )
        raise OptionError(f"Class weights are for {where}: leave them out.")
