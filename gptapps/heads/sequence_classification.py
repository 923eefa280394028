"""Labels for a whole text: one of them, or all that fit.

Symbols: B batch, F features, K labels.
"""

from __future__ import annotations

from torch import Tensor

from gptapps.heads.linear_head import LinearHead


class SequenceClassificationHead(LinearHead):
    """Logistic regression over a text's features (Cox 1958; multinomial for several labels)."""

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the probability (B, K) of every label, in float64; each row sums to 1."""
        return self.scores(features).softmax(1)


class MultiLabelHead(LinearHead):
    """A logistic regression for each label, over the same features."""

    def probabilities(self, features: Tensor) -> Tensor:
        """Return, for every label, the probability (B, K) that it fits, in float64."""
        return self.scores(features).sigmoid()
