"""Attention of one new token of each row over a cache of keys and values, and over prefixes that rows share.

Symbols: B batch, S slots of the cache, P keys of a prefix, H heads, K key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps.kernels import reference_decode
from gptapps.kernels.dispatch import Impl, launches, needs_operator, takes_heads


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Keys and values that rows share, and what each row of the batch sees of them.

    Attributes:
        keys, values: (K, P, D).
        lengths: (B,) integers: a row sees the first so many keys; 0 where it stands behind something else.
        places: (B,) integers: where a row's query stands, counted on from the prefix's first key; windows need it.
    """

    keys: Tensor
    values: Tensor
    lengths: Tensor
    places: Tensor


def decode_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    *,
    scale: float,
    prefixes: Sequence[SharedPrefix] = (),
    window: int | None = None,
    sinks: Tensor | None = None,
    soft_cap: float | None = None,
    impl: Impl | None = None,
) -> tuple[Tensor, Tensor]:
    """Attend from one query token of each row to the row's cached keys and to the prefixes it stands behind.

    The query is the last of its row's cached tokens. Nothing looks at the lengths on the host, and what is launched
    depends on shapes alone, so a CUDA graph may hold the call while the texts grow. A prefix is read once for all its
    rows. It is for inference: the kernel has no derivative.

    Args:
        q: (B, H, D), any strides.
        keys: (B, K, S, D), any strides, H a multiple of K.
        values: (B, K, S, D).
        lengths: (B,) integers: the slots of each row that hold tokens, the query's own among them; slots behind them
            may hold anything. A row of length 0 sees nothing of its cache.
        scale: multiplies the scores.
        prefixes: what stands in front of the cached tokens.
        window: how many tokens back, itself included, the query may look; None for all.
        sinks: (H,) logits that take part in the softmax and have no value; None for none.
        soft_cap: scores are squashed to (-cap, cap) by tanh; None for not at all.
        impl: which implementation; None for the environment's.

    Returns:
        Output (B, H, D) in the type of ``q``, and the log-sum-exp of scores and sinks (B, H), float32 or wider, by
        which attention over other keys may be merged in. A row that sees nothing has output 0.

    Raises:
        KernelUnavailableError: Triton was asked for and can't be had.

    Example:
        >>> q, cache = torch.ones(1, 2, 16), torch.ones(1, 1, 8, 16)
        >>> out, log_sum = decode_attention(q, cache, cache, torch.tensor([3]), scale=0.25)
        >>> tuple(out.shape), round(log_sum[0, 0].item(), 3)  # log 3 + 4
        ((1, 2, 16), 5.099)

    Source: Dao et al. 2023 (Flash-Decoding); prefixes: Juravsky et al. 2024 (Hydragen), section 3; sinks: Xiao et al.
    2023, section 3.
    """
    parts = (
        [prefix.keys for prefix in prefixes],
        [prefix.values for prefix in prefixes],
        [prefix.lengths for prefix in prefixes],
        [prefix.places for prefix in prefixes],
    )
    if not takes_heads(impl, q, keys, values, *parts[0], *parts[1]):
        operate = reference_decode.decode_attention
    else:
        operate = _operator if needs_operator(q, keys, values) else _compute
    return operate(q, keys, values, lengths, *parts, sinks, scale, window, soft_cap)


def _compute(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    prefix_keys: Sequence[Tensor],
    prefix_values: Sequence[Tensor],
    prefix_lengths: Sequence[Tensor],
    prefix_places: Sequence[Tensor],
    sinks: Tensor | None,
    scale: float,
    window: int | None,
    soft_cap: float | None,
) -> tuple[Tensor, Tensor]:
    parts = (prefix_keys, prefix_values, prefix_lengths, prefix_places)
    if not launches(q):
        return reference_decode.decode_attention(q, keys, values, lengths, *parts, sinks, scale, window, soft_cap)
    from gptapps.kernels.gpu.decode_attention import decode_attention as launch

    return launch(q, keys, values, lengths, *parts, sinks, scale, window, soft_cap)


_operator = torch.library.custom_op(
    "gptapps::decode_attention",
    _compute,
    mutates_args=(),
    schema="(Tensor q, Tensor keys, Tensor values, Tensor lengths, Tensor[] prefix_keys, Tensor[] prefix_values,"
    " Tensor[] prefix_lengths, Tensor[] prefix_places, Tensor? sinks, float scale, int? window, float? soft_cap)"
    " -> (Tensor, Tensor)",
)


@_operator.register_fake
def _shapes(q: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape[:2], dtype=torch.promote_types(q.dtype, torch.float32))
