"""Conditional logit: which of each question's candidates is the right one, told from the candidates' features.

Symbols: R rows, one a candidate; Q questions; F features.

Source: McFadden, Conditional Logit Analysis of Qualitative Choice Behavior (1974).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from gptapps.metrics.confidence import FloatArray
from gptapps.training.folds import Fold

_STEPS = 500


@dataclass(frozen=True, slots=True)
class Questions:
    """Which rows belong together, and which of them is right.

    Attributes:
        counts: (Q,) candidates of each question, whose rows follow one another.
        golds: (Q,) the right one's number among them.
    """

    counts: npt.NDArray[np.int64]
    golds: npt.NDArray[np.int64]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """(Q,) each question's first row."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]])

    def only(self, some: Sequence[int]) -> tuple[npt.NDArray[np.int64], Questions]:
        """Return the rows of some questions, and those questions."""
        starts = self.starts
        rows = [np.arange(starts[one], starts[one] + self.counts[one]) for one in some]
        return np.concatenate(rows), Questions(self.counts[list(some)], self.golds[list(some)])


def candidate_weights(
    features: npt.NDArray[np.float32], questions: Questions, penalty: float, start: FloatArray | None = None
) -> FloatArray:
    """Return the weights (F,) that make the right candidates likeliest.

    Args:
        features: (R, F), scaled.
        questions: whose rows they are.
        penalty: strength of the L2 penalty; the mean loss of a question stands beside half of it times the weights'
            square.
        start: weights to begin with.
    """
    starts, counts = questions.starts, questions.counts
    right = starts + questions.golds

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        scores = (features @ weights.astype(np.float32)).astype(np.float64)
        scores -= np.repeat(np.maximum.reduceat(scores, starts), counts)
        exponentials = np.exp(scores)
        sums = np.add.reduceat(exponentials, starts)
        shares = exponentials / np.repeat(sums, counts)
        value = float(np.mean(np.log(sums) - scores[right])) + penalty / 2 * float(weights @ weights)
        shares[right] -= 1
        slope = (features.T @ shares.astype(np.float32)).astype(np.float64) / len(counts)
        return value, slope + penalty * weights

    begin = np.zeros(features.shape[1]) if start is None else start
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "gtol": 1e-5, "ftol": 1e-9})
    return np.asarray(found.x)


def share_right(
    features: npt.NDArray[np.float32], questions: Questions, folds: Sequence[Fold], penalties: Sequence[float]
) -> dict[float, float]:
    """Return, for each penalty, the share of questions answered right by a fit that didn't see them.

    Args:
        features: (R, F), scaled.
        questions: whose rows they are.
        folds: of the Q questions.
        penalties: to try.
    """
    right = dict.fromkeys(penalties, 0)
    for fold in folds:
        rows, learnt = questions.only(fold.train)
        held_rows, held = questions.only(fold.validation)
        known, asked, weights = features[rows], features[held_rows], None
        for penalty in sorted(penalties, reverse=True):  # each fit begins where the stronger penalty's ended
            weights = candidate_weights(known, learnt, penalty, weights)
            right[penalty] += int((best_candidates(asked @ weights, held) == held.golds).sum())
    return {penalty: count / len(questions.counts) for penalty, count in right.items()}


def best_candidates(scores: FloatArray, questions: Questions) -> npt.NDArray[np.int64]:
    """Return the number (Q,) of each question's best candidate; of equals the first."""
    parts = np.split(scores, questions.starts[1:])
    return np.array([part.argmax() for part in parts])
