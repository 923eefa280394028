"""gptapps' attention inside any transformers model that asks for its attention by name.

Symbols: B rows, T query tokens, S key tokens, H heads, K key/value heads, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gptapps import kernels
from gptapps.errors import OptionError, ResourceError, UnsupportedModelError
from gptapps.kernels import Visibility
from gptapps.kernels.dispatch import needs_operator, uses_triton


def register_attention(name: str = "gptapps") -> None:
    """Enter gptapps' attention among those that transformers' models may choose; as often as you like.

    Sliding windows, grouped queries, soft caps, attention sinks, padding and caches work as they do with ``sdpa``. On a
    GPU the kernels run, elsewhere plain PyTorch; ``GPTAPPS_KERNELS`` chooses (see :mod:`gptapps.kernels.dispatch`).
    While a model runs, dropout in its attention is refused as an :class:`~gptapps.errors.OptionError`, and biases that
    are added to scores as an :class:`~gptapps.errors.UnsupportedModelError`.

    Args:
        name: what models ask for.

    Example:
        >>> import gptapps
        >>> gptapps.register_attention()
        >>> AutoModelForCausalLM.from_pretrained(path, attn_implementation="gptapps")  # doctest: +SKIP

    Raises:
        ResourceError: transformers isn't installed.
    """
    try:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask
    except ImportError:
        raise ResourceError(
            "transformers, to which the attention goes, isn't installed: pip install 'gptapps[transformers]'."
        ) from None
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, sdpa_mask)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    cache: object | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' models call it.

    Args:
        module: the attention layer; ``is_causal`` is asked of it where the argument isn't given.
        query: (B, H, T, D).
        key, value: (B, K, S, D).
        attention_mask: (B, 1 or H, T, S or more) bool, True where a query may look; None for everywhere, or for
            causality alone.
        dropout: has to be 0.
        scaling: multiplies the scores; None for 1 / sqrt(D).
        softcap: scores are squashed to (-cap, cap) by tanh.
        is_causal: whether no mask means causality.
        s_aux: (H,) the sinks' logits.
        position_bias, cache: have to be None.
        unused: what other implementations of attention are told, such as the window that the mask holds already.

    Returns:
        (B, T, H, D), and no weights.

    Raises:
        OptionError: dropout.
        UnsupportedModelError: scores that something is added to, or a paged cache.
    """
    if dropout:
        raise OptionError("gptapps' attention has no dropout: set the model's attention_dropout (or attn_pdrop) to 0.")
    if position_bias is not None or (attention_mask is not None and attention_mask.dtype != torch.bool):
        raise UnsupportedModelError(
            f"{type(module).__name__} adds numbers to the scores of its attention, which gptapps' attention can't:"
            ' use attn_implementation="sdpa".'
        )
    if cache is not None:
        raise UnsupportedModelError("gptapps' attention reads no paged cache: use transformers' own attention there.")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    tokens, size = query.shape[2], value.shape[-1]
    query, key, value = _with_equal_heads(query, key, value)
    if attention_mask is not None:
        visible = Visibility(mask=attention_mask[..., : key.shape[2]])
    elif tokens == 1 or not causal:
        visible = Visibility()
    else:  # without a mask, slots past the queries are room of a cache that nothing was written to
        key, value, visible = key[:, :, :tokens], value[:, :, :tokens], Visibility(causal=True)
    if tokens == 1 and attention_mask is None and uses_triton(None, query) and not needs_operator(query, key, value):
        lengths = torch.full((len(query),), key.shape[2], dtype=torch.int32, device=query.device)
        out, _ = kernels.decode_attention(
            query[:, :, 0], key, value, lengths, scale=scale, sinks=s_aux, soft_cap=softcap
        )
        return out[:, None, :, :size], None
    out = kernels.attention(query, key, value, scale=scale, visible=visible, sinks=s_aux, soft_cap=softcap)
    return out.transpose(1, 2)[..., :size].contiguous(), None


def _with_equal_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    missing = query.shape[-1] - value.shape[-1]
    if missing > 0:
        return query, key, F.pad(value, (0, missing))
    if missing < 0:
        return F.pad(query, (0, -missing)), F.pad(key, (0, -missing)), value
    return query, key, value
