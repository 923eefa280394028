"""Which of several candidates is right, each judged by its own features.

Symbols: N candidates, F features.
"""

from __future__ import annotations

from torch import Tensor

from gptapps.heads.linear_head import LinearHead


class MultipleChoiceHead(LinearHead):
    """Conditional logit: one weight for each feature, whatever the number of candidates (McFadden 1974)."""

    def shares(self, features: Tensor) -> Tensor:
        """Return the log-probability (N,), in float64, of each of the candidates (N, F) of one question."""
        return self.scores(features)[:, 0].log_softmax(0)
