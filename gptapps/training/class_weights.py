"""How much each example counts, so that rare labels aren't drowned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

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
