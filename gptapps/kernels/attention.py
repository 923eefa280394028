"""Attention of many queries: every kind of mask, grouped queries, packed texts, sinks and a soft cap.

Symbols: B rows, T query tokens, S key tokens, H heads, K key/value heads, D head size.
"""

from __future__ import annotations

from torch import Tensor

from gptapps.kernels import reference
from gptapps.kernels.attention_operator import attend
from gptapps.kernels.dispatch import Impl, takes_heads
from gptapps.kernels.packing import Packing
from gptapps.kernels.reference_attention import masked_attention, open_attention
from gptapps.kernels.visibility import Visibility


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    visible: Visibility,
    sinks: Tensor | None = None,
    soft_cap: float | None = None,
    impl: Impl | None = None,
) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q: (B, H, T, D).
        k: (B, K, S, D), H a multiple of K.
        v: (B, K, S, D).
        scale: multiplies the scores; positive.
        visible: which keys each query may look at. A query that may look nowhere gets zeros.
        sinks: (H,) a logit of each head that has no value; None for none.
        soft_cap: scores are squashed to (-cap, cap) by tanh; None for not at all.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Returns:
        (B, H, T, D).

    Raises:
        KernelUnavailableError: Triton was chosen by name for heads of more than 256 channels.

    Example:
        >>> x = torch.ones(1, 2, 3, 16)
        >>> attention(x, x, x, scale=0.25, visible=Visibility(causal=True)).shape
        torch.Size([1, 2, 3, 16])

    Source: Vaswani et al. 2017, equation 1; grouped queries: Ainslie et al. 2023; computed as Dao 2023
    (FlashAttention-2) does; sinks: Xiao et al. 2023; soft cap: Gemma 2 2024.
    """
    if takes_heads(impl, q, k, v):
        return attend(q, k, v, visible, sinks, scale, soft_cap, wide=False)[0]
    if sinks is None and soft_cap is None and visible.is_plain and not _must_align(q, k, visible):
        return reference.attention(q, k, v, scale=scale, mask=visible.mask, causal=visible.causal)
    return masked_attention(q, k, v, visible, sinks, scale=scale, soft_cap=soft_cap)[0].to(q.dtype)


def partial_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    visible: Visibility,
    impl: Impl | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention over a part of the keys, with what is needed to merge it with the rest.

    Args:
        q: (B, H, T, D).
        k: (B or 1, K, S, D); 1 where all rows share the keys.
        v: (B or 1, K, S, D).
        scale, visible, impl: see :func:`attention`.

    Returns:
        Output (B, H, T, D) and log-sum-exp of the scores (B, H, T, 1), both float32 or wider. A query that
        may look nowhere has output 0 and log-sum-exp -inf.
    """
    on_triton = takes_heads(impl, q, k, v)
    if not on_triton and visible.is_plain and not visible.causal:
        return reference.partial_attention(q, k, v, scale=scale, mask=visible.mask)
    k, v = k.expand(len(q), -1, -1, -1), v.expand(len(q), -1, -1, -1)
    if on_triton:
        out, log_sum = attend(q, k, v, visible, None, scale, None, wide=True)
    else:
        out, log_sum = masked_attention(q, k, v, visible, None, scale=scale, soft_cap=None)
    return out, log_sum.unsqueeze(-1)


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packing: Packing,
    *,
    scale: float,
    window: int | None,
    causal: bool = True,
    impl: Impl | None = None,
) -> Tensor:
    """Attention over texts that lie one behind the other, none of which sees another.

    Args:
        q: (1, H, T, D).
        k: (1, K, T, D), H a multiple of K.
        v: (1, K, T, D).
        packing: how long the texts are, and what stands in front of them once and belongs to all.
        scale, impl: see :func:`attention`.
        window: how many tokens back, itself included, a query may look; None for all.
        causal: False lets each token see what follows it in its text.

    Returns:
        (1, H, T, D).

    Raises:
        ValueError: a shared opening isn't causal.
    """
    if takes_heads(impl, q, k, v):
        if packing.keys is not None:
            k, v = k[:, :, packing.keys], v[:, :, packing.keys]
        return attend(q, k, v, packing.visibility(causal=causal, window=window), None, scale, None, wide=False)[0]
    if causal:
        return reference.packed_attention(
            q, k, v, shared=packing.opening, lengths=packing.texts, scale=scale, window=window
        )
    return open_attention(q, k, v, packing.texts, scale=scale, window=window)


def _must_align(q: Tensor, k: Tensor, visible: Visibility) -> bool:
    # PyTorch lets the first query meet the first key, and takes no mask besides.
    return visible.causal and (visible.mask is not None or q.shape[2] != k.shape[2])
