"""Which features tell labels apart: ridge regression in closed form, cross-validated.

A fold's normal equations are those of all rows less those of its validation part, and one eigendecomposition serves
every penalty, so that a set of features is judged in about a second. Symbols: N rows, F features, K outputs.

Source: Hoerl and Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems (1970).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from gptapps.metrics.confidence import FloatArray
from gptapps.training.folds import Fold

Judge = Callable[[FloatArray], float]
"""From scores (N, K), each row's by a fit that didn't see it, to how good they are."""

_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)  # beside a variance of 1


def ridge_score(
    features: npt.NDArray[np.float32], targets: FloatArray, weights: FloatArray, folds: Sequence[Fold], judge: Judge
) -> float:
    """Return how good the best of five penalties is, over folds.

    Args:
        features: (N, F), standardized, and rotated if one likes.
        targets: (N, K), what is to be told from them, such as 1 and -1.
        weights: (N,) of the rows.
        folds: of the N rows.
        judge: of the scores.
    """
    found = [np.empty(targets.shape) for _ in _PENALTIES]
    every = _Moments(features, targets, weights, slice(None))
    for fold in folds:
        held = list(fold.validation)
        part = every.without(_Moments(features, targets, weights, held))
        values, vectors = np.linalg.eigh(part.covariance)
        rotated = (features[held] - part.mean) @ vectors
        slopes = vectors.T @ part.slopes
        for scores, penalty in zip(found, _PENALTIES, strict=True):
            scores[held] = rotated @ (slopes / (values.clip(0) + penalty)[:, None]) + part.target
    return max(map(judge, found))


class _Moments:
    """Weighted sums over some rows, from which means and covariances follow."""

    def __init__(
        self,
        features: npt.NDArray[np.float32],
        targets: FloatArray,
        weights: FloatArray,
        rows: slice | list[int],
    ) -> None:
        some, wanted = features[rows], targets[rows]
        weighted = some * weights[rows, None].astype(np.float32)
        self.weight = float(weights[rows].sum())
        self.sums = weighted.sum(0, dtype=np.float64)
        self.target_sums = weights[rows] @ wanted
        self.squares = (weighted.T @ some).astype(np.float64)
        self.products = weighted.T.astype(np.float64) @ wanted

    def without(self, other: _Moments) -> _Moments:
        """Return the sums over the rows that aren't among the other's."""
        less = object.__new__(_Moments)
        for name in ("weight", "sums", "target_sums", "squares", "products"):
            setattr(less, name, getattr(self, name) - getattr(other, name))
        return less

    @property
    def mean(self) -> FloatArray:
        """Of the features, (F,)."""
        return np.asarray(self.sums / self.weight)

    @property
    def target(self) -> FloatArray:
        """Mean of the targets, (K,)."""
        return np.asarray(self.target_sums / self.weight)

    @property
    def covariance(self) -> FloatArray:
        """Of the features, (F, F)."""
        return np.asarray(self.squares / self.weight - np.outer(self.mean, self.mean))

    @property
    def slopes(self) -> FloatArray:
        """Covariance of features and targets, (F, K)."""
        return np.asarray(self.products / self.weight - np.outer(self.mean, self.target))
