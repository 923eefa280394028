"""The others: PyTorch's attention backends, FlexAttention, compiled PyTorch, and Liger-Kernel where it is installed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.speed.gpu.work import Function, Inputs, Peer

FLASH = "SDPA flash"
_BACKENDS = {
    FLASH: SDPBackend.FLASH_ATTENTION,
    "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION,
    "SDPA efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def plain(function: Function) -> Peer:
    """Return a peer that needs no preparation."""
    return lambda _: function


def compiled(function: Function) -> Peer:
    """Return ``function`` through ``torch.compile``; on the CPU as it is, for a dry run compiles nothing."""
    return lambda inputs: torch.compile(function, dynamic=False) if inputs[0].is_cuda else function


def liger(use: Callable[[Any], Function]) -> Peer:
    """Return a peer made from Liger-Kernel's functions, the module of which ``use`` gets; it raises without them."""
    return lambda _: use(importlib.import_module("liger_kernel.transformers.functional"))


def sdpa(scale: float, *, causal: bool, arrange: Function | None = None) -> dict[str, Peer]:
    """Return PyTorch's attention on each of its fused backends.

    Args:
        scale: multiplies the scores.
        causal: query t looks at keys 0..t.
        arrange: makes queries (B, H, 1, D), keys and values (B, K, S, D) of what decode attention takes, outside of the
            time; None where the inputs are queries, keys and values.
    """
    return {
        name: partial(_sdpa, backend=backend, scale=scale, causal=causal, arrange=arrange)
        for name, backend in _BACKENDS.items()
    }


def flex(scale: float, mask: Callable[..., Tensor] | None, arrange: Function | None = None) -> Peer:
    """Return FlexAttention, compiled.

    Args:
        scale, arrange: see :func:`sdpa`.
        mask: says by row, head, query and key what is seen; None for everything.
    """
    return partial(_flex, scale=scale, mask=mask, arrange=arrange)


def _sdpa(inputs: Inputs, *, backend: SDPBackend, scale: float, causal: bool, arrange: Function | None) -> Function:
    arranged = None if arrange is None else arrange(*inputs)

    def attend(*given: Tensor) -> Tensor:
        q, k, v = given if arranged is None else arranged
        with sdpa_kernel(backend):
            out = F.scaled_dot_product_attention(
                q, k, v, is_causal=causal, scale=scale, enable_gqa=q.shape[1] > k.shape[1]
            )
        return out if arranged is None else out.squeeze(2)

    with warnings.catch_warnings():  # PyTorch says in warnings why a backend can't be had
        warnings.simplefilter("ignore")
        with torch.no_grad():
            attend(*inputs)
    return attend


def _flex(inputs: Inputs, *, scale: float, mask: Callable[..., Tensor] | None, arrange: Function | None) -> Function:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    arranged = None if arrange is None else arrange(*inputs)
    q, k, _ = inputs if arranged is None else arranged
    is_cuda, grouped = q.is_cuda, q.shape[1] > k.shape[1]
    blocks = None if mask is None else create_block_mask(mask, None, None, q.shape[2], k.shape[2], device=q.device.type)
    run: Any = torch.compile(flex_attention, dynamic=False) if is_cuda else flex_attention

    def attend(*given: Tensor) -> Tensor:
        with warnings.catch_warnings():
            if not is_cuda:  # it warns that it should be compiled
                warnings.simplefilter("ignore")
            out: Tensor = run(
                *(given if arranged is None else arranged), block_mask=blocks, scale=scale, enable_gqa=grouped
            )
        return out if arranged is None else out.squeeze(2)

    return attend
