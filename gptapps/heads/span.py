"""Where an answer begins and ends in a text.

Symbols: B batch, T tokens, P places, C channels, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from gptapps.errors import CheckpointError
from gptapps.heads.features import Features
from gptapps.heads.linear_head import LinearHead


class SpanHead(LinearHead):
    """Scores every place of a text as an answer's first token and as its last.

    The question stands before the text, so that a causal model knows it at every place. A place's features are its
    hidden states, and their products with the mean states of what stands before the text, which tell how well the two
    go together.

    Args:
        weight, bias, features: see :class:`~gptapps.heads.linear_head.LinearHead`.
        limit: the most tokens of a text, its question included, that it learned from; None for what the model holds.
    """

    def __init__(self, weight: Tensor, bias: Tensor, features: Features, limit: int | None = None) -> None:
        super().__init__(weight, bias, features)
        self.limit = limit

    def settings(self) -> dict[str, Any]:
        """Return, for JSON, what the tensors don't say."""
        return {**super().settings(), **({} if self.limit is None else {"limit": self.limit})}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], channels: int, place: str) -> Self:
        """Return the head that :meth:`settings` and the state of an earlier one describe; raises as its base does."""
        head = super().restored(tensors, settings, channels, place)
        limit = settings.get("limit")
        if not (limit is None or (isinstance(limit, int) and limit > 0)):
            raise CheckpointError(f"{place} is damaged (a limit of {limit!r} tokens): train again.")
        head.limit = limit
        return head

    @classmethod
    def feature_count(cls, features: Features, channels: int) -> int:
        """Return F for a backbone of so many channels."""
        return place_feature_count(features, channels)

    def spans(self, features: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        """Return the scores (P,) of the best span that begins at each place, in float64, and where it ends (P,).

        Args:
            features: (P, F) of the places of one text.
            longest: the most places of a span.
        """
        begins, ends = self.scores(features).unbind(1)
        count = len(begins)
        distance = torch.arange(count) - torch.arange(count).unsqueeze(1)  # (P, P): from begin to end
        allowed = (distance >= 0) & (distance < longest)
        best, places = ends.expand(count, count).masked_fill(~allowed, -torch.inf).max(1)
        return begins + best, places


def place_feature_count(features: Features, channels: int) -> int:
    """Return F of :func:`place_features` for a backbone of so many channels."""
    return 2 * len(features.layers) * channels


def places_and_before(states: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Return the states (P, L, C) of a text's places, and the mean (L, C) of those before them.

    The very first token counts for nothing: its state is far from all others in every text.

    Args:
        states: (T, L, C) of all tokens of the text and what stands before it.
        first: the text's first token, at least 1.
    """
    return states[first:], states[1 if first > 1 else 0 : first].mean(0)


def place_features(places: Tensor, before: Tensor) -> Tensor:
    """Return the features (P, F) of places.

    Args:
        places: (P, L, C) hidden states of L layers.
        before: (L, C) mean states of what stands before the text.
    """
    return torch.cat([places.flatten(1), (places * before).flatten(1)], 1)
