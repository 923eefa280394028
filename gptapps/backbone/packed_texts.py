"""Texts read one behind the other in a single row, none of which sees another: no padding is computed.

What all of them begin with is read once. Symbols: N texts, T tokens in all, S tokens of the longest text, R rotated
channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gptapps.backbone.attention import Step
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.rotary import DynamicScaling, LongRopeScaling, RotaryConfig, rotary_tables
from gptapps.kernels import Packing


class PackedStep(Step):
    """What all layers share while they read packed texts: positions that begin anew with each.

    Args:
        config: the backbone's.
        texts: the tokens of each text, without those of the opening.
        opening: tokens that all texts begin with.
        device: where the tensors lie.
        dtype: of the hidden states.
        causal: False lets each token see what follows it in its text.
    """

    def __init__(
        self,
        config: GPTConfig,
        texts: Sequence[int],
        opening: int,
        device: torch.device,
        dtype: torch.dtype,
        *,
        causal: bool = True,
    ) -> None:
        total = opening + sum(texts)
        super().__init__(config, 1, total, None, [total], device, dtype)
        self.packing, self.causal = Packing.of(texts, opening=opening, device=device), causal
        self._counts = torch.tensor(self.packing.texts, device=device)  # (N,)
        self._places = torch.arange(max(texts), device=device).expand(len(texts), -1)  # (N, S)
        self._real = self._places < self._counts.unsqueeze(1)
        first = torch.arange(opening, device=device)
        self.positions = torch.cat((first, opening + self._places[self._real])).unsqueeze(0)  # (1, T)

    def rotation(self, rotary: RotaryConfig) -> tuple[Tensor, Tensor]:
        """Return the rotation tables (1, T, 1, R), those of each text as if it were read alone."""
        if rotary not in self._rotations:
            if depends_on_length(rotary):
                tables = rotary_tables(rotary, self._places, self._counts)  # (N, S, 1, R)
                cos, sin = (table[self._real].unsqueeze(0) for table in tables)
            else:
                cos, sin = rotary_tables(rotary, self.positions, self._text_lengths)
            self._rotations[rotary] = cos.to(self.dtype), sin.to(self.dtype)
        return self._rotations[rotary]


def can_share_opening(config: GPTConfig) -> bool:
    """Return whether tokens that texts begin with mean the same in all of them, however long each is."""
    return not any(rotary is not None and depends_on_length(rotary) for rotary in (config.rotary, config.local_rotary))


def depends_on_length(rotary: RotaryConfig) -> bool:
    """Return whether a token's rotation depends on how long its text is."""
    return isinstance(rotary.scaling, DynamicScaling | LongRopeScaling)
