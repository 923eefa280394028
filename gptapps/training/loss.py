"""The loss of packed lessons: at the targets only, and without ever holding all logits.

Symbols: T tokens, N tokens that are learned, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gptapps import kernels
from gptapps.backbone.gpt import GPTBackbone
from gptapps.heads.language_model import LanguageModelHead
from gptapps.training.packing import Pack


class TargetLoss(nn.Module):
    """A backbone and its vocabulary head, read to their loss.

    Args:
        backbone, head: what is trained, or a part of it.
        label_smoothing, z_loss: see :func:`gptapps.kernels.linear_cross_entropy`.
        causal: False lets each token see what follows it.
    """

    def __init__(
        self,
        backbone: GPTBackbone,
        head: LanguageModelHead,
        *,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        causal: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.label_smoothing, self.z_loss, self.causal = label_smoothing, z_loss, causal

    def forward(self, pack: Pack) -> Tensor:
        """Return the summed loss of a pack's targets, each times its weight."""
        device = self.backbone.device
        states = self.backbone.read_packed(
            pack.tokens.to(device), pack.texts, opening=pack.opening, causal=self.causal
        )  # (T, C)
        projection = self.head.projection
        return kernels.linear_cross_entropy(
            states[pack.places.to(device)],
            projection.weight,
            pack.targets.to(device),
            bias=projection.bias,
            weights=pack.weights.to(device),
            logit_cap=self.head.logit_cap,
            label_smoothing=self.label_smoothing if self.training else 0.0,
            z_loss=self.z_loss if self.training else 0.0,
        )


@torch.no_grad()
def mean_loss(loss: nn.Module, packs: Sequence[Pack]) -> float:
    """Return the mean cross-entropy of the targets of packs, in nats each, without smoothing or dropout.

    Args:
        loss: returns the summed loss of a pack.
        packs: at least one.
    """
    was_training = loss.training
    loss.eval()
    total = sum(float(loss(pack)) for pack in packs)
    loss.train(was_training)
    return total / sum(float(pack.weights.sum()) for pack in packs)
