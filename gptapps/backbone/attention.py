"""Causal self-attention over a text, a cached tail and shared prefixes.

Symbols: B batch, T new tokens, S keys, C channels, H heads, K key/value heads, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptapps import kernels
from gptapps.backbone.branch_groups import BranchGroups
from gptapps.backbone.branching import Branching
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.decoding_keys import DecodingKeys, SeenKeys, SharedKeys
from gptapps.backbone.kv_cache import CacheRows
from gptapps.backbone.linear import linear
from gptapps.backbone.rotary import RotaryConfig, rotary_tables
from gptapps.backbone.segment import Segment
from gptapps.kernels import Packing, Visibility
from gptapps.kernels.dispatch import uses_triton


class Step:
    """What all layers share in one forward pass: positions, rotations, masks, and who shares which prefix.

    Args:
        config: the backbone's.
        batch, tokens: B and T.
        rows: the cache rows to extend; None for a text that is read once and forgotten.
        lengths: how many of the T tokens of each row are real; the rest is padding on the right.
        device: where the tensors lie.
        dtype: of the hidden states.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch: int,
        tokens: int,
        rows: CacheRows | None,
        lengths: list[int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.rows, self.tokens, self.device, self.dtype = rows, tokens, device, dtype
        self.packing: Packing | None = None  # texts that share a row and don't see each other
        self.causal = True  # False: packed texts are seen in both directions
        self.branching: Branching | None = None  # texts that share a row and what they begin with
        self.groups: BranchGroups | None = None  # how to look at these, where a mask over all is a waste
        read = rows.lengths() if rows else [0] * batch
        starts = torch.tensor(read, device=device)
        self.positions = starts.unsqueeze(1) + torch.arange(tokens, device=device)  # (B, T)
        self._text_lengths = starts + torch.tensor(lengths, device=device)
        self._tails = rows.tails if rows else [0] * batch
        self.fresh = not any(read)
        self.shared = self._shared_keys(rows.prefixes) if rows and not self.fresh else ()
        self.decoding = self._decoding_keys(rows) if rows and tokens == 1 and not self.fresh else None
        self._visible: dict[tuple[int | None, bool], Visibility] = {}
        self._segment_visible: dict[tuple[int, int | None, bool], Visibility] = {}
        self._rotations: dict[RotaryConfig, tuple[Tensor, Tensor]] = {}

    def rotation(self, rotary: RotaryConfig) -> tuple[Tensor, Tensor]:
        """Return the rotation tables (B, T, 1, R) of ``rotary`` at these positions."""
        if rotary not in self._rotations:
            cos, sin = rotary_tables(rotary, self.positions, self._text_lengths)
            self._rotations[rotary] = cos.to(self.dtype), sin.to(self.dtype)
        return self._rotations[rotary]

    def tail_visible(self, window: int | None, *, described: bool) -> Visibility:
        """Return which tail slots each new token may look at.

        Args:
            window: of the layer.
            described: by lengths, which kernels need no mask for, where PyTorch takes a mask.
        """
        key = (window, described)
        if key not in self._visible:
            self._visible[key] = self._described(window) if described else self._masked(window)
        return self._visible[key]

    def segment_visible(self, shared: SharedKeys, window: int | None, *, described: bool) -> Visibility:
        """Return which keys of a shared segment, all of which lie behind, each new token may look at.

        Args:
            shared: the segment and its rows.
            window: of the layer.
            described: for all rows of the batch, by lengths, instead of a mask for those that stand behind the segment.
        """
        key = (id(shared.segment), window, described)
        if key not in self._segment_visible:
            if described:
                self._segment_visible[key] = self._described_segment(shared, window)
            elif window is None:
                self._segment_visible[key] = Visibility()
            else:
                positions = self.positions if shared.rows is None else self.positions[shared.rows]
                keys = torch.arange(shared.segment.start, shared.segment.end, device=self.device)
                mask = (positions.unsqueeze(-1) - keys < window).unsqueeze(1)
                self._segment_visible[key] = Visibility(mask=mask)
        return self._segment_visible[key]

    def _described_segment(self, shared: SharedKeys, window: int | None) -> Visibility:
        seen = None if shared.rows is None else SeenKeys.of(shared, len(self.positions), self.device).lengths
        if window is None:
            return Visibility(key_lengths=seen)
        offsets = self.positions[:, 0] - shared.segment.start
        return Visibility(causal=True, window=window, offsets=offsets, key_lengths=seen)

    def _described(self, window: int | None) -> Visibility:
        if self.branching is not None:
            return Visibility(mask=self.branching.mask(window))
        offsets = None if self.fresh else torch.tensor(self._tails, device=self.device)
        return Visibility(causal=True, window=window, offsets=offsets)

    def _masked(self, window: int | None) -> Visibility:
        mask = self._tail_mask(window)
        return Visibility(mask=mask, causal=self.fresh and mask is None)

    def _tail_mask(self, window: int | None) -> Tensor | None:
        if self.branching is not None:
            return self.branching.mask(window)
        end = max(self._tails) + self.tokens
        narrow = window if window is not None and end > window else None
        if narrow is None and (self.fresh or (self.tokens == 1 and min(self._tails) == max(self._tails))):
            return None
        tails = torch.tensor(self._tails, device=self.device)
        queries = tails.unsqueeze(1) + torch.arange(self.tokens, device=self.device)  # (B, T)
        distance = queries.unsqueeze(-1) - torch.arange(end, device=self.device)  # (B, T, S)
        mask = distance >= 0
        if narrow is not None:
            mask &= distance < narrow
        return mask.unsqueeze(1)

    def _decoding_keys(self, rows: CacheRows) -> DecodingKeys | None:
        if not uses_triton(None, rows.cache.keys):
            return None
        slots = torch.tensor(self._tails, device=self.device)
        seen = [SeenKeys.of(one, len(slots), self.device) for one in self.shared]
        return DecodingKeys(rows.cache, slots, self.positions[:, 0], seen, start=rows.start)

    def _shared_keys(self, prefixes: list[Segment | None]) -> tuple[SharedKeys, ...]:
        owners: dict[int, tuple[Segment, list[int]]] = {}
        for row, prefix in enumerate(prefixes):
            for segment in prefix.chain() if prefix else ():
                owners.setdefault(id(segment), (segment, []))[1].append(row)
        return tuple(
            SharedKeys(segment, None if len(rows) == len(prefixes) else torch.tensor(rows, device=self.device))
            for segment, rows in owners.values()
        )


class BranchedStep(Step):
    """A step over one row of several texts, each token behind its own text only.

    Args:
        config: the backbone's.
        branching: which tokens belong to which text.
        rows: an empty row of a cache to write to; None where the keys and values aren't needed again.
        device, dtype: of the hidden states.
    """

    def __init__(
        self,
        config: GPTConfig,
        branching: Branching,
        rows: CacheRows | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        tokens = len(branching.positions)
        super().__init__(config, 1, tokens, rows, [tokens], device, dtype)
        self.branching = branching
        self.groups = BranchGroups.of(branching.visible) if device.type == "cpu" else None
        self.positions = branching.positions.unsqueeze(0)
        self._text_lengths = torch.tensor([branching.length], device=device)


class Attention(nn.Module):
    """Multi-head causal self-attention of one layer."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        shape = config.attention
        self.layer = layer
        self.heads, self.kv_heads, self.head_size = shape.heads, shape.kv_heads, shape.head_size
        self.scale = shape.scale
        self.window = config.windows[layer]
        self.rotary = config.rotary_of(layer)
        self.qkv = linear(config.channels, (self.heads + 2 * self.kv_heads) * self.head_size, bias=shape.qkv_bias)
        self.output = linear(self.heads * self.head_size, config.channels, bias=shape.output_bias)
        self.epsilon = config.norm.epsilon
        self.query_norm = nn.Parameter(torch.ones(self.head_size)) if shape.qk_norm else None
        self.key_norm = nn.Parameter(torch.ones(self.head_size)) if shape.qk_norm else None

    def forward(self, x: Tensor, step: Step) -> Tensor:
        """Attend from each new token to itself and everything before it: (B, T, C) -> (B, T, C)."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).view(batch, tokens, -1, self.head_size)  # (B, T, H + 2K, D)
        turning, values = qkv.split_with_sizes((self.heads + self.kv_heads, self.kv_heads), 2)
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = turning.split_with_sizes((self.heads, self.kv_heads), 2)
            queries = kernels.rms_norm(queries, self.query_norm, self.epsilon)
            turning = torch.cat((queries, kernels.rms_norm(keys, self.key_norm, self.epsilon)), 2)
        if self.rotary is not None:
            turning = kernels.rotary(turning, *step.rotation(self.rotary), interleaved=self.rotary.interleaved)
        queries, keys = turning.split_with_sizes((self.heads, self.kv_heads), 2)
        attended = self._attend(queries.transpose(1, 2), keys, values, step)  # (B, H, T, D)
        merged: Tensor = self.output(attended.transpose(1, 2).reshape(batch, tokens, -1))
        return merged

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, step: Step) -> Tensor:
        if step.decoding is not None:
            return step.decoding.attend(self.layer, q, keys, values, scale=self.scale, window=self.window)
        if step.packing is not None:
            keys, values = keys.transpose(1, 2), values.transpose(1, 2)
            return kernels.packed_attention(
                q, keys, values, step.packing, scale=self.scale, window=self.window, causal=step.causal
            )
        if step.rows is None or step.fresh:
            if step.rows is not None:
                step.rows.write(self.layer, keys, values)
            held_keys, held_values = keys.transpose(1, 2), values.transpose(1, 2)
            if step.branching is not None:
                held_keys, held_values = step.branching.behind_past(self.layer, held_keys, held_values)
        else:
            held_keys, held_values = step.rows.write(self.layer, keys, values)
        described = uses_triton(None, q)
        if step.groups is not None and step.branching is not None and not described:
            seen = step.branching.mask(self.window)[0, 0]
            return step.groups.attend(q, held_keys, held_values, seen, scale=self.scale, window=self.window)
        visible = step.tail_visible(self.window, described=described)
        if not step.shared:
            return kernels.attention(q, held_keys, held_values, scale=self.scale, visible=visible)
        total = kernels.partial_attention(q, held_keys, held_values, scale=self.scale, visible=visible)
        return self._with_segments(q, total, step, described=described)

    def _with_segments(self, q: Tensor, total: tuple[Tensor, Tensor], step: Step, *, described: bool) -> Tensor:
        for shared in step.shared:
            rows = None if described else shared.rows  # a kernel passes over the rows that see nothing of a segment
            part = kernels.partial_attention(
                q if rows is None else q[rows],
                shared.segment.keys[self.layer].unsqueeze(0),
                shared.segment.values[self.layer].unsqueeze(0),
                scale=self.scale,
                visible=step.segment_visible(shared, self.window, described=described),
            )
            if rows is None:
                total = kernels.merge_attention(total, part)
            else:
                merged = kernels.merge_attention((total[0][rows], total[1][rows]), part)
                total = total[0].index_copy(0, rows, merged[0]), total[1].index_copy(0, rows, merged[1])
        return total[0].to(q.dtype)
