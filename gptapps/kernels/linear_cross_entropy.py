"""Cross-entropy straight from hidden states: the logits of all tokens are never held at once.

Symbols: N tokens, C channels, V vocabulary.

Source: Szegedy et al. 2016, section 7 (label smoothing); Chowdhery et al. 2022 (PaLM), section 5 (z-loss). Working out
the gradient along with the loss, a piece of the tokens at a time, is what Hsu et al. 2024 (Liger Kernel) do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_LOGITS_AT_ONCE = 1 << 24  # 64 MiB in float32


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    weights: Tensor | None = None,
    logit_cap: float | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    ignore_index: int = -100,
    chunk: int | None = None,
) -> Tensor:
    """Return the summed cross-entropy of ``targets`` under ``hidden @ weight.T + bias``.

    With logits z of a token, target y and smoothing e, a token's loss is
    ``logsumexp(z) - (1 - e) z[y] - e mean(z) + z_loss * logsumexp(z) ** 2``.

    Args:
        hidden: (N, C).
        weight: (V, C).
        targets: (N,) int64.
        bias: (V,) or None.
        weights: (N,) what each token's loss is multiplied by; None for 1. It gets no gradient.
        logit_cap: logits are squashed to (-cap, cap) by tanh; None for not at all.
        label_smoothing: share of the probability that is spread over the vocabulary, 0 to 1.
        z_loss: keeps the logits near a normalized scale.
        ignore_index: tokens with this target are left out, and no logits are computed for them.
        chunk: tokens whose logits are held at once; None for as many as take 64 MiB in float32.

    Returns:
        A scalar, float32 or wider: the sum, so that pieces of a batch add up.
    """
    step = chunk or max(_LOGITS_AT_ONCE // weight.shape[0], 1)
    settings = (logit_cap, label_smoothing, z_loss, step)
    kept = (targets != ignore_index).nonzero().squeeze(1)
    loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, weights, kept, settings
    )
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """d loss / d z = (1 + 2 z_loss logsumexp) softmax(z) - (1 - e) onehot(y) - e / V, token by token."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weights: Tensor | None,
        kept: Tensor,
        settings: tuple[float | None, float, float, int],
    ) -> Tensor:
        cap, smoothing, z_loss, step = settings
        wide = torch.promote_types(hidden.dtype, torch.float32)
        needs = ctx.needs_input_grad[:3]
        grad_hidden, grad_weight, grad_bias = (
            torch.zeros_like(tensor) if tensor is not None and needed else None
            for tensor, needed in zip((hidden, weight, bias), needs, strict=True)
        )
        loss = hidden.new_zeros((), dtype=wide)
        for rows in torch.split(kept, step):
            states, truth = hidden[rows], targets[rows].unsqueeze(1)
            logits = torch.nn.functional.linear(states, weight, bias).to(wide)  # (rows, V)
            if cap is not None:
                logits = cap * torch.tanh(logits / cap)
            log_sum = logits.logsumexp(1, keepdim=True)
            losses = log_sum - (1 - smoothing) * logits.gather(1, truth) + z_loss * log_sum.square()
            if smoothing:
                losses -= smoothing * logits.mean(1, keepdim=True)
            share = 1.0 if weights is None else weights[rows].unsqueeze(1).to(wide)
            loss += (losses * share).sum()
            if not any(needs):
                continue
            slope = 1.0 if cap is None else 1 - (logits / cap).square()
            grad = logits.sub_(log_sum).exp_()  # the softmax takes the logits' place
            if z_loss:
                grad *= 1 + 2 * z_loss * log_sum
            if smoothing:
                grad -= smoothing / weight.shape[0]
            grad.scatter_add_(1, truth, grad.new_full(truth.shape, smoothing - 1))
            if not isinstance(share, float):
                grad *= share
            grad = (grad * slope if isinstance(slope, Tensor) else grad).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = (grad @ weight.to(grad.dtype)).to(grad_hidden.dtype)
            if grad_weight is not None:
                grad_weight += grad.T @ states
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if kept is None else kept * grad.to(kept.dtype) for kept in ctx.saved_tensors)
        return (*scaled, None, None, None, None)
