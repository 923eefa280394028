"""Logistic regression by scikit-learn: its penalty by cross-validation, its weights for features as they come.

Symbols: N rows, F features, K labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from gptapps.heads.features import ROUNDING
from gptapps.metrics.confidence import FloatArray
from gptapps.training.folds import Fold
from gptapps.training.ridge import Judge

IntArray = npt.NDArray[np.int64]

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Strengths that are tried; 1 / (strength x rows) is scikit-learn's C."""

_STEPS = 1000
_TOLERANCE = 1e-4
_CERTAIN = 20.0  # how far a label that was never seen lies below the others: a probability of 2e-9


@dataclass(frozen=True, slots=True)
class Scaling:
    """What makes features of mean 0 and variance 1.

    Attributes:
        mean, deviation: (F,).
    """

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, features: npt.NDArray[np.float32]) -> Scaling:
        """Return that of these features (N, F); one that changes by no more than rounding is only centred."""
        mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
        return cls(mean, np.where(deviation > ROUNDING * np.abs(mean), deviation, 1.0))

    def apply(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the features scaled, (N, F)."""
        return np.asarray((features - self.mean) / self.deviation, np.float32)

    def undone(self, weight: FloatArray, bias: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return weights (K, F) and bias (K,) for features as they come, from those for scaled ones."""
        plain = weight / self.deviation
        return plain, bias - plain @ self.mean


def rotated(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return rows (N, N) with the same distances and products where there are fewer rows than features, else the same.

    Linear fits with an L2 penalty predict the same from them, in less time.
    """
    rows, size = features.shape
    if rows >= size:
        return features
    values, vectors = np.linalg.eigh(features.astype(np.float64) @ features.T.astype(np.float64))
    return np.asarray(vectors * np.sqrt(values.clip(0)), np.float32)


def penalty_scores(
    features: npt.NDArray[np.float32],
    targets: IntArray,
    weights: FloatArray,
    folds: Sequence[Fold],
    penalties: Sequence[float],
    judge: Judge,
) -> dict[float, float]:
    """Return how good each penalty is, over folds.

    Args:
        features: (N, F), scaled.
        targets: (N,) a label's number for each row, or (N, K) with 1 for every label that fits.
        weights: (N,) of the rows.
        folds: of the N rows.
        penalties: to try.
        judge: of scores (N, K).
    """
    count = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    found = {penalty: np.empty((len(targets), count)) for penalty in penalties}
    for fold in folds:
        learnt, held = list(fold.train), list(fold.validation)
        fits = _Fits(features[learnt], targets[learnt], weights[learnt], count)
        for penalty in sorted(penalties, reverse=True):  # each fit begins where the stronger penalty's ended
            weight, bias = fits.fitted(penalty)
            found[penalty][held] = features[held] @ weight.T + bias
    return {penalty: judge(scores) for penalty, scores in found.items()}


def fitted_weights(
    features: npt.NDArray[np.float32], targets: IntArray, weights: FloatArray, count: int, penalty: float
) -> tuple[FloatArray, FloatArray]:
    """Return weights (K, F) and bias (K,) of a logistic regression.

    Args:
        features, targets, weights: as for :func:`penalty_scores`.
        count: K; a label that no row has keeps its weights at 0.
        penalty: strength of the L2 penalty on the weights.
    """
    return _Fits(features.astype(np.float64), targets, weights, count).fitted(penalty)


class _Fits:
    """Fits of one or, where several labels may fit a row, of K logistic regressions to the same rows."""

    def __init__(self, features: npt.NDArray[Any], targets: IntArray, weights: FloatArray, count: int) -> None:
        self._features, self._weights, self._count = features, weights, count
        columns = [targets] if targets.ndim == 1 else list(targets.T)
        self._problems = [
            (column, LogisticRegression(warm_start=True, max_iter=_STEPS, tol=_TOLERANCE)) for column in columns
        ]
        self._several = targets.ndim == 2

    def fitted(self, penalty: float) -> tuple[FloatArray, FloatArray]:
        """Return weights (K, F) and bias (K,), starting where the last fit ended."""
        parts = [self._one(column, model, penalty) for column, model in self._problems]
        if not self._several:
            return parts[0]
        weights = np.stack([weight[1] - weight[0] for weight, _ in parts])
        return weights, np.array([bias[1] - bias[0] for _, bias in parts])

    def _one(self, column: IntArray, model: LogisticRegression, penalty: float) -> tuple[FloatArray, FloatArray]:
        count = 2 if self._several else self._count
        present = np.unique(column)
        weight, bias = np.zeros((count, self._features.shape[1])), np.zeros(count)
        if len(present) > 1:
            model.set_params(C=1 / (penalty * len(column)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the last steps of a weak penalty change nothing
                model.fit(self._features, column, sample_weight=self._weights)
            halves = len(present) == 2  # scikit-learn gives the difference of the two
            weight[present] = [-model.coef_[0] / 2, model.coef_[0] / 2] if halves else model.coef_
            bias[present] = [-model.intercept_[0] / 2, model.intercept_[0] / 2] if halves else model.intercept_
        absent = np.isin(np.arange(count), present, invert=True)
        bias[absent] = bias[present].min() - _CERTAIN
        return weight, bias
