"""Cross-entropy from hidden states, a piece of the tokens at a time.

Symbols: N tokens, C channels, V vocabulary. The matrix products are cuBLAS's; between them one kernel reads a piece's
logits twice, and the second time leaves their gradient in their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import cdiv, next_power_of_2, on_device

_LOGITS_AT_ONCE = 1 << 29  # 1 GiB in bfloat16; fewer pieces add up the weight's gradient less often
_FEWEST_TOKENS = 1024  # or the matrix products are too small for the card
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Terms:
    """What a token's loss is made of; see :func:`gptapps.kernels.linear_cross_entropy`."""

    logit_cap: float | None
    label_smoothing: float
    z_loss: float


def loss_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor | None,
    kept: Tensor,
    terms: Terms,
    chunk: int | None,
    learns: tuple[bool, bool, bool],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Return the summed loss and its gradients.

    Args:
        hidden: (N, C).
        weight: (V, C).
        bias: (V,) or None.
        targets: (N,) int64.
        weights: (N,) of the tokens' losses, or None.
        kept: (M,) int64, the tokens that count.
        terms: of the loss.
        chunk: tokens whose logits are held at once; None for a number that keeps the products large.
        learns: whether hidden states, weight and bias get a gradient; what doesn't is None.
        dtype: of the logits and of what is multiplied.
    """
    vocabulary = weight.shape[0]
    matrix = weight.to(dtype)
    pieces = torch.split(kept, chunk or tokens_at_once(len(kept), vocabulary))
    longest = max(map(len, pieces))
    padded = cdiv(vocabulary, 16) * 16  # Triton reads whole vectors of rows that begin at multiples of 16 numbers
    held = hidden.new_empty((longest, padded), dtype=dtype)[:, :vocabulary]
    losses = hidden.new_zeros(len(kept), dtype=torch.float32)
    grad_hidden = hidden.new_zeros(hidden.shape) if learns[0] else None
    summed = weight.dtype if len(pieces) == 1 and weight.dtype == dtype else torch.float32
    grad_weight = weight.new_zeros(weight.shape, dtype=summed) if learns[1] else None
    grad_bias = weight.new_zeros(vocabulary, dtype=torch.float32) if learns[2] else None
    done = 0
    for rows in pieces:
        states = hidden[rows].to(dtype)  # (rows, C)
        logits = torch.mm(states, matrix.T, out=held[: len(rows)])
        if bias is not None:
            logits += bias
        share = None if weights is None else weights[rows]
        losses[done : done + len(rows)] = losses_of_logits(logits, targets[rows], share, terms, any(learns))
        done += len(rows)
        if grad_hidden is not None:
            grad_hidden[rows] = (logits @ matrix).to(hidden.dtype)
        if grad_weight is not None:
            _add_product(grad_weight, logits.T, states)
        if grad_bias is not None:
            grad_bias += logits.sum(0, dtype=torch.float32)
    return (
        losses.sum(),
        grad_hidden,
        None if grad_weight is None else grad_weight.to(weight.dtype),
        None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
    )


def tokens_at_once(tokens: int, vocabulary: int) -> int:
    """Return how many of ``tokens`` have their logits held at once: an eighth at most, unless that is very few."""
    wanted: int = max(cdiv(tokens, 8), _FEWEST_TOKENS)
    return max(min(wanted, _LOGITS_AT_ONCE // vocabulary), 1)


def losses_of_logits(logits: Tensor, targets: Tensor, weights: Tensor | None, terms: Terms, learns: bool) -> Tensor:
    """Return the tokens' losses (N,) float32; where it ``learns``, their gradient takes the place of the logits.

    Args:
        logits: (N, V), any distance between rows. It is a buffer of the caller's, written into.
        targets: (N,) int64; one that is no place of the vocabulary makes the loss NaN.
        weights: (N,) of the tokens' losses, or None.
        terms: of the loss.
        learns: whether the gradient is wanted.
    """
    count, vocabulary = logits.shape
    losses = logits.new_empty(count, dtype=torch.float32)
    if not count:
        return losses
    block = min(next_power_of_2(vocabulary), _BLOCK)
    with on_device(logits):
        _losses[(count,)](
            logits,
            targets.contiguous(),
            targets if weights is None else weights.contiguous(),
            losses,
            logits.stride(0),
            1.0 if terms.logit_cap is None else terms.logit_cap,
            terms.label_smoothing,
            terms.z_loss,
            VOCABULARY=vocabulary,
            BLOCK=block,
            HAS_WEIGHTS=weights is not None,
            HAS_CAP=terms.logit_cap is not None,
            LEARNS=learns,
            num_warps=min(max(block // 512, 1), 8),
        )
    return losses


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    elif total.is_cuda and _adds_products_in_float32(total.device):
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:
        total += left @ right


@cache
def _adds_products_in_float32(device: torch.device) -> bool:
    # Newer releases of PyTorch add a product of half-precision matrices to a float32 one in place; older ones refuse.
    total = torch.ones(16, 16, device=device)
    ones = torch.ones(16, 16, device=device, dtype=torch.bfloat16)
    try:
        torch.addmm(total, ones, ones, out_dtype=torch.float32, out=total)
    except (RuntimeError, TypeError):
        return False
    return bool((total == 17).all())


@triton.jit
def _losses(  # type: ignore[no-untyped-def]
    logits,  # (N, V) by a stride; leaves as their gradient
    targets,  # (N,)
    weights,  # (N,)
    losses,  # (N,)
    stride,
    cap,
    smoothing,
    z_loss,
    VOCABULARY: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_WEIGHTS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    LEARNS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    target = tl.load(targets + row)
    is_known = (target >= 0) & (target < VOCABULARY)
    truth = tl.load(logits + target, mask=is_known, other=float("nan")).to(tl.float32)
    if HAS_CAP:
        truth = cap * _tanh(truth / cap)
    highest = -3.0e38  # finite, so that logits of -inf leave no inf - inf
    weight_sum = 0.0
    total = 0.0
    whole: tl.constexpr = VOCABULARY // BLOCK * BLOCK  # a mask that ends at no multiple of 16 would cut vectors up
    for start in tl.range(0, whole, BLOCK):
        value = _read(logits, start, cap, VOCABULARY, BLOCK, HAS_CAP, True, 0.0)
        highest, weight_sum = _raise(highest, weight_sum, value)
        total += tl.sum(value, 0)
    if whole < VOCABULARY:
        value = _read(logits, whole, cap, VOCABULARY, BLOCK, HAS_CAP, False, -float("inf"))
        highest, weight_sum = _raise(highest, weight_sum, value)
        total += tl.sum(tl.where(whole + tl.arange(0, BLOCK) < VOCABULARY, value, 0.0), 0)
    log_sum = highest + tl.log(weight_sum)
    loss = log_sum - (1.0 - smoothing) * truth + z_loss * log_sum * log_sum
    if smoothing != 0.0:  # or logits of -inf would make it NaN
        loss -= smoothing * total / VOCABULARY
    share = 1.0
    if HAS_WEIGHTS:
        share = tl.load(weights + row).to(tl.float32)
    tl.store(losses + row, loss * share)
    if LEARNS:
        scale = share * (1.0 + 2.0 * z_loss * log_sum)
        even = share * smoothing / VOCABULARY
        hit = share * (1.0 - smoothing)
        for start in tl.range(0, whole, BLOCK):
            _leave_gradient(logits, start, target, log_sum, scale, even, hit, cap, VOCABULARY, BLOCK, HAS_CAP, True)
        if whole < VOCABULARY:
            _leave_gradient(logits, whole, target, log_sum, scale, even, hit, cap, VOCABULARY, BLOCK, HAS_CAP, False)


@triton.jit
def _read(  # type: ignore[no-untyped-def]
    logits, start, cap,
    VOCABULARY: tl.constexpr, BLOCK: tl.constexpr, HAS_CAP: tl.constexpr, WHOLE: tl.constexpr, BEHIND: tl.constexpr,
):  # fmt: skip
    """Return a piece of a row, squashed where there is a cap, and BEHIND behind the vocabulary."""
    place = start + tl.arange(0, BLOCK)
    if WHOLE:
        value = tl.load(logits + place).to(tl.float32)
    else:
        value = tl.load(logits + place, mask=place < VOCABULARY, other=BEHIND).to(tl.float32)
    if HAS_CAP:
        value = cap * _tanh(value / cap)
        if not WHOLE:
            value = tl.where(place < VOCABULARY, value, BEHIND)
    return value


@triton.jit
def _raise(highest, weight_sum, value):  # type: ignore[no-untyped-def]
    raised = tl.maximum(highest, tl.max(value, 0))
    return raised, weight_sum * tl.exp(highest - raised) + tl.sum(tl.exp(value - raised), 0)


@triton.jit
def _leave_gradient(  # type: ignore[no-untyped-def]
    logits, start, target, log_sum, scale, even, hit, cap,
    VOCABULARY: tl.constexpr, BLOCK: tl.constexpr, HAS_CAP: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    place = start + tl.arange(0, BLOCK)
    value = _read(logits, start, cap, VOCABULARY, BLOCK, HAS_CAP, WHOLE, 0.0)
    grad = tl.exp(value - log_sum) * scale - even - tl.where(place == target, hit, 0.0)
    if HAS_CAP:
        grad *= 1.0 - (value / cap) * (value / cap)
    grad = grad.to(logits.dtype.element_ty)
    if WHOLE:
        tl.store(logits + place, grad)
    else:
        tl.store(logits + place, grad, mask=place < VOCABULARY)


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0
