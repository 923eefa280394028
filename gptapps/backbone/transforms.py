"""The closed set of ways in which a tensor of ours differs from the tensors of a checkpoint.

Each :class:`Transform` joins the tensors of a checkpoint into one of ours and splits ours back into theirs;
the two are inverse. Only the backbone's attention shape is needed for that.

Symbols: C channels, H heads, K key/value heads, D head size, F feed-forward size; R rows of any kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps.backbone.config import AttentionConfig


@dataclass(frozen=True, slots=True)
class Transform:
    """A named pair of inverse functions between tensors of a checkpoint and one tensor of ours.

    Attributes:
        name: what it does, in a word or two.
        parts: how many tensors of the checkpoint make one of ours.
        join: theirs -> ours.
        split: ours -> theirs, in the same order; works on the meta device too, where it tells shapes.

    Example:
        >>> theirs = TRANSPOSE.split(torch.zeros(3, 2), shape)     # doctest: +SKIP
        >>> TRANSPOSE.join(theirs, shape).shape                     # doctest: +SKIP
        torch.Size([3, 2])
    """

    name: str
    parts: int
    join: Callable[[Sequence[Tensor], AttentionConfig], Tensor]
    split: Callable[[Tensor, AttentionConfig], tuple[Tensor, ...]]


def _qkv_sizes(shape: AttentionConfig) -> list[int]:
    keys = shape.kv_heads * shape.head_size
    return [shape.heads * shape.head_size, keys, keys]


def _halves(tensor: Tensor, shape: AttentionConfig) -> tuple[Tensor, ...]:
    return tensor.chunk(2)


def _interleave_heads(tensor: Tensor, shape: AttentionConfig) -> tuple[Tensor, ...]:
    return (tensor.view(3, shape.heads, shape.head_size, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape),)


def _uninterleave_heads(parts: Sequence[Tensor], shape: AttentionConfig) -> Tensor:
    fused = parts[0]
    return fused.view(shape.heads, 3, shape.head_size, *fused.shape[1:]).transpose(0, 1).reshape(fused.shape)


def _pair_up(tensor: Tensor, size: int) -> Tensor:
    heads = tensor.view(-1, 2, size // 2, *tensor.shape[1:])
    return heads.transpose(1, 2).reshape(tensor.shape)


def _unpair(tensor: Tensor, size: int) -> Tensor:
    heads = tensor.view(-1, size // 2, 2, *tensor.shape[1:])
    return heads.transpose(1, 2).reshape(tensor.shape)


def _join_paired_qkv(parts: Sequence[Tensor], shape: AttentionConfig) -> Tensor:
    queries, keys, values = parts
    return torch.cat((_unpair(queries, shape.head_size), _unpair(keys, shape.head_size), values))


def _split_paired_qkv(tensor: Tensor, shape: AttentionConfig) -> tuple[Tensor, ...]:
    queries, keys, values = tensor.split_with_sizes(_qkv_sizes(shape))
    return _pair_up(queries, shape.head_size), _pair_up(keys, shape.head_size), values


IDENTITY = Transform("identity", 1, lambda parts, shape: parts[0], lambda tensor, shape: (tensor,))
"""The same tensor."""

TRANSPOSE = Transform(
    "transpose",
    1,
    lambda parts, shape: parts[0].t().contiguous(),
    lambda tensor, shape: (tensor.t(),),
)
"""GPT-1 and GPT-2 keep weights as (inputs, outputs), which their code calls Conv1D."""

QKV = Transform(
    "concatenate queries, keys, values",
    3,
    lambda parts, shape: torch.cat(tuple(parts)),
    lambda tensor, shape: tensor.split_with_sizes(_qkv_sizes(shape)),
)
"""Three projections (H D, C), (K D, C), (K D, C), or their biases, under each other."""

GATE_UP = Transform("concatenate gate and up", 2, lambda parts, shape: torch.cat(tuple(parts)), _halves)
"""Two projections (F, C) of a gated feed-forward layer under each other, gate first."""

INTERLEAVED_QKV = Transform("collect queries, keys, values of all heads", 1, _uninterleave_heads, _interleave_heads)
"""GPT-NeoX goes head by head: q, k, v of the first head, q, k, v of the second, ..."""

PAIRED_QKV = Transform("part rotary pairs, concatenate queries, keys, values", 3, _join_paired_qkv, _split_paired_qkv)
"""GGUF files of the llama architecture hold the two channels of a rotary pair side by side in queries and keys."""

PLUS_ONE = Transform("add one", 1, lambda parts, shape: parts[0] + 1, lambda tensor, shape: (tensor - 1,))
"""Gemma stores how far the scale of a norm is from one."""

TRANSFORMS = (IDENTITY, TRANSPOSE, QKV, GATE_UP, INTERLEAVED_QKV, PAIRED_QKV, PLUS_ONE)
