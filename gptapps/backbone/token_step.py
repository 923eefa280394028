"""A step of one token in every row that a CUDA graph can hold: what differs from token to token lies on the device.

Symbols: B rows, S slots of the cache, R rotated channels of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gptapps.backbone.attention import Step
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.decoding_keys import DecodingKeys, SeenKeys
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.rotary import RotaryConfig, rotary_tables

RotationTables = Mapping[RotaryConfig, tuple[Tensor, Tensor]]


def rotation_tables(config: GPTConfig, positions: int, dtype: torch.dtype, device: torch.device) -> RotationTables:
    """Return the cosines and sines (positions, 1, 1, R) of every kind of layer, at so many first positions.

    They must not depend on how long a text is.
    """
    places = torch.arange(positions, device=device).unsqueeze(1)
    lengths = torch.full((positions,), positions, device=device)
    kinds = {rotary for rotary in (config.rotary_of(layer) for layer in range(config.layers)) if rotary is not None}
    tables = {}
    for rotary in kinds:
        cos, sin = rotary_tables(rotary, places, lengths)
        tables[rotary] = cos.to(dtype), sin.to(dtype)
    return tables


class TokenStep(Step):
    """What all layers share while each row reads one token behind its tail.

    Nothing of it looks at a number on the host, so the same step may be captured once and replayed.

    Args:
        config: the backbone's.
        cache: its first B rows are read; the caller counts the token as read.
        positions: (B,) int64 of each row's token in its text.
        tables: :func:`rotation_tables` for as many positions as there may be.
        slots: (B,) int64 of each row's token in its tail; None where no row has a prefix, so that they are the same.
        seen: the segments that rows stand behind.
    """

    def __init__(
        self,
        config: GPTConfig,
        cache: KVCache,
        positions: Tensor,
        tables: RotationTables,
        *,
        slots: Tensor | None = None,
        seen: Sequence[SeenKeys] = (),
    ) -> None:
        on_host = torch.device("cpu")  # a capture forbids copies from the host, and nothing made there is read
        super().__init__(config, 1, 1, None, [1], on_host, cache.keys.dtype)
        self.device = positions.device
        self.positions = positions.unsqueeze(1)  # (B, 1)
        self.decoding = DecodingKeys(cache, positions if slots is None else slots, positions, seen)
        self._rotations = {kind: (cos[positions], sin[positions]) for kind, (cos, sin) in tables.items()}
