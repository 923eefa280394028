"""A linear layer over the features of a backbone, kept as safetensors and JSON.

Symbols: B batch, F features, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from gptapps.errors import CheckpointError
from gptapps.heads.features import POOLINGS, Features


class LinearHead(nn.Module):
    """Scores what a text's features say.

    It computes in float64, so that scores don't depend on how many texts are scored together, and on the CPU, where
    features are kept whatever the backbone runs on.

    Args:
        weight: (K, F).
        bias: (K,).
        features: what it reads.
    """

    def __init__(self, weight: Tensor, bias: Tensor, features: Features) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.features = features

    def forward(self, features: Tensor) -> Tensor:
        """Return scores (B, K) for features (B, F)."""
        return self.scores(features)

    def scores(self, features: Tensor) -> Tensor:
        """Return scores (B, K) for features (B, F)."""
        return nn.functional.linear(features.double(), self.weight.double(), self.bias.double())

    def settings(self) -> dict[str, Any]:
        """Return, for JSON, what the tensors don't say."""
        return {"layers": list(self.features.layers), "poolings": list(self.features.poolings)}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], channels: int, place: str) -> Self:
        """Return the head that :meth:`settings` and the state of an earlier one describe.

        Args:
            tensors: ``weight`` and ``bias``.
            settings: as :meth:`settings` gave them.
            channels: of the backbone it reads.
            place: where they come from, for messages.

        Raises:
            CheckpointError: they don't fit each other or the backbone.
        """
        try:
            features = Features(
                tuple(int(layer) for layer in settings["layers"]),
                tuple(POOLINGS[POOLINGS.index(pooling)] for pooling in settings["poolings"]),
            )
            weight, bias = tensors["weight"], tensors["bias"]
            fits = weight.shape == (len(bias), cls.feature_count(features, channels))
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{place} is damaged ({type(error).__name__}: {error}): train again.") from None
        if not fits:
            raise CheckpointError(
                f"{place} holds weights of shape {tuple(weight.shape)}, and {cls.feature_count(features, channels)} "
                "features are read: train again."
            )
        return cls(weight, bias, features)

    @classmethod
    def feature_count(cls, features: Features, channels: int) -> int:
        """Return F for a backbone of so many channels."""
        return features.size(channels)
