"""Cross-entropy straight from hidden states: logits are held for a piece of the tokens at a time.

A piece has some 2^24 logits on the CPU. On a GPU it has an eighth of the tokens, but at least 1,024 or as many as
there are, and at most 2^29 logits.

Symbols: N tokens, C channels, V vocabulary.

Source: Szegedy et al. 2016, section 7 (label smoothing); Chowdhery et al. 2022 (PaLM), section 5 (z-loss). Working out
the gradient along with the loss, a piece of the tokens at a time, is what Hsu et al. 2024 (Liger Kernel) do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gptapps.kernels.dispatch import Impl, launches, uses_triton

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
    impl: Impl | None = None,
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
        chunk: tokens whose logits are held at once. None for as many as take 64 MiB in float32; on the kernels for an
            eighth of the tokens that count, but at least 1,024, and at most 2^29 logits. So where no more than 1,024
            tokens count, all their logits are held at once there.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Returns:
        A scalar, float32 or wider: the sum, so that pieces of a batch add up.
    """
    if uses_triton(impl, hidden, weight, targets, bias, weights):
        learning = torch.is_grad_enabled()
        learns = [learning and tensor is not None and tensor.requires_grad for tensor in (hidden, weight, bias)]
        terms = (logit_cap, label_smoothing, z_loss)
        summed: Tensor = _operator(hidden, weight, bias, targets, weights, *terms, ignore_index, chunk, learns)[0]
        return summed
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
        learns = ctx.needs_input_grad[:3]
        loss, *grads = _loss_and_gradients(hidden, weight, bias, targets, weights, kept, settings, learns)
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if kept is None else kept * grad.to(kept.dtype) for kept in ctx.saved_tensors)
        return (*scaled, None, None, None, None)


def _loss_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor | None,
    kept: Tensor,
    settings: tuple[float | None, float, float, int],
    learns: Sequence[bool],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    cap, smoothing, z_loss, step = settings
    wide = torch.promote_types(hidden.dtype, torch.float32)
    grad_hidden, grad_weight, grad_bias = (
        tensor.new_zeros(tensor.shape) if tensor is not None and needed else None
        for tensor, needed in zip((hidden, weight, bias), learns, strict=True)
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
        if not any(learns):
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
    return loss, grad_hidden, grad_weight, grad_bias


def _compute(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor | None,
    logit_cap: float | None,
    label_smoothing: float,
    z_loss: float,
    ignore_index: int,
    chunk: int | None,
    learns: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kept = (targets != ignore_index).nonzero().squeeze(1)
    if launches(hidden):
        from gptapps.kernels.gpu import linear_cross_entropy as gpu

        terms = gpu.Terms(logit_cap, label_smoothing, z_loss)
        of_hidden, of_weight, of_bias = learns
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        loss, *grads = gpu.loss_and_gradients(
            hidden, weight, bias, targets, weights, kept, terms, chunk, (of_hidden, of_weight, of_bias), dtype
        )
    else:
        settings = (logit_cap, label_smoothing, z_loss, chunk or max(_LOGITS_AT_ONCE // weight.shape[0], 1))
        loss, *grads = _loss_and_gradients(hidden, weight, bias, targets, weights, kept, settings, learns)
    of_hidden_, of_weight_, of_bias_ = (hidden.new_empty(0) if grad is None else grad for grad in grads)
    return loss, of_hidden_, of_weight_, of_bias_


_operator = torch.library.custom_op(
    "gptapps::linear_cross_entropy",
    _compute,
    mutates_args=(),
    schema="(Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, Tensor? weights, float? logit_cap,"
    " float label_smoothing, float z_loss, int ignore_index, int? chunk, bool[] learns)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)


@_operator.register_fake
def _shapes(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_hidden, of_weight, of_bias = (
        hidden.new_empty(0) if tensor is None or not learns else tensor.new_empty(tensor.shape)
        for tensor, learns in zip((hidden, weight, bias), settings[-1], strict=True)
    )
    loss = hidden.new_empty((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    return loss, of_hidden, of_weight, of_bias


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, *grads = output
    ctx.learns = inputs[-1]
    ctx.mark_non_differentiable(*grads)
    ctx.save_for_backward(*grads)


def _differentiate(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    scaled = [
        kept * grad.to(kept.dtype) if learns else None
        for kept, learns in zip(ctx.saved_tensors, ctx.learns, strict=True)
    ]
    return (*scaled, *(None for _ in range(8)))


_operator.register_autograd(_differentiate, setup_context=_keep)
