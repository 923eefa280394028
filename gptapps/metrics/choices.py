"""Metrics of multiple choice that look at more than the choice that was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gptapps.metrics.classification import Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyNorm(Accuracy):
    """The share of questions whose right choice has the highest log-likelihood per character, 0 to 1.

    Predictions are the choices that :meth:`chosen` names, references the right ones. The log-likelihoods are those
    without normalisation, whatever the predictions themselves were made with.

    Source: ``acc_norm`` of lm-evaluation-harness, equal to it (its ``acc_bytes`` counts bytes instead).
    """

    name: str = "accuracy_norm"

    def chosen(self, log_likelihoods: Mapping[str, float]) -> str | None:
        """Return the choice with the highest log-likelihood per character, of equals the first; None of none.

        Example:
            >>> AccuracyNorm().chosen({"to": -2.0, "towards": -3.5})
            'towards'
        """
        return max(log_likelihoods, key=lambda choice: log_likelihoods[choice] / len(choice), default=None)


accuracy_norm = AccuracyNorm()
