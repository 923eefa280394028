"""The sizes of GPT-1, GPT-2 and GPT-3, and the configuration that a size makes.

Source: Radford et al. 2018 (GPT-1), section 4.1; Radford et al. 2019 (GPT-2), table 2; Brown et al. 2020 (GPT-3),
table 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gptapps.backbone.checkpoint import config_from_values
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.weights import tensor_shapes
from gptapps.errors import OptionError, UnknownNameError
from gptapps.registry import suggestion

Kind = Literal["gpt-1", "gpt-2", "gpt-3"]

_HEAD_SIZE = 64  # where another number of channels is asked for, and none of heads


@dataclass(frozen=True, slots=True)
class Size:
    """How large a GPT is, and of which kind.

    Attributes:
        kind: ``"gpt-1"`` has its norms behind each half of a block; ``"gpt-2"`` in front; ``"gpt-3"`` lets every other
            layer see 256 tokens back only.
        layers: blocks.
        heads: of attention.
        channels: of a hidden state.
        context: the most tokens of a text.
    """

    kind: Kind
    layers: int
    heads: int
    channels: int
    context: int

    @property
    def numbers(self) -> dict[str, int]:
        """All but the kind, by name."""
        return {name: getattr(self, name) for name in ("layers", "heads", "channels", "context")}


SIZES: Mapping[str, Size] = {
    "gpt-1": Size("gpt-1", 12, 12, 768, 512),
    "gpt-2-small": Size("gpt-2", 12, 12, 768, 1024),
    "gpt-2-medium": Size("gpt-2", 24, 16, 1024, 1024),
    "gpt-2-large": Size("gpt-2", 36, 20, 1280, 1024),
    "gpt-2-xl": Size("gpt-2", 48, 25, 1600, 1024),
    "gpt-3-small": Size("gpt-3", 12, 12, 768, 2048),
    "gpt-3-medium": Size("gpt-3", 24, 16, 1024, 2048),
    "gpt-3-large": Size("gpt-3", 24, 16, 1536, 2048),
    "gpt-3-xl": Size("gpt-3", 24, 16, 2048, 2048),  # the paper's 24 heads of 128 don't make 2048 channels
    "gpt-3-2.7b": Size("gpt-3", 32, 32, 2560, 2048),
    "gpt-3-6.7b": Size("gpt-3", 32, 32, 4096, 2048),
    "gpt-3-13b": Size("gpt-3", 40, 40, 5120, 2048),  # the paper has 5140, which 40 heads don't divide
    "gpt-3-175b": Size("gpt-3", 96, 96, 12288, 2048),
}
"""The papers' sizes by name."""

_RATES = ((12288, 0.6e-4), (5120, 1e-4), (4096, 1.2e-4), (2560, 1.6e-4), (2048, 2e-4), (1536, 2.5e-4), (1024, 3e-4))
_RATES_OF_SMALL = ((768, 6e-4), (0, 1e-3))


def size_of(
    name: str,
    *,
    layers: int | None = None,
    heads: int | None = None,
    channels: int | None = None,
    context: int | None = None,
) -> Size:
    """Return a size of :data:`SIZES` with some of its numbers changed.

    Raises:
        UnknownNameError: no such size.
        OptionError: channels that the heads don't divide.

    Example:
        >>> size_of("gpt-2-small", layers=2, channels=128)
        Size(kind='gpt-2', layers=2, heads=2, channels=128, context=1024)
    """
    if name not in SIZES:
        raise UnknownNameError(f"There is no size {name!r}.{suggestion(name, SIZES)} Known: {', '.join(SIZES)}.")
    known = SIZES[name]
    if heads is None:
        heads = known.heads if channels is None else max(channels // _HEAD_SIZE, 1)
    size = Size(
        known.kind,
        known.layers if layers is None else layers,
        heads,
        known.channels if channels is None else channels,
        known.context if context is None else context,
    )
    if size.channels % size.heads:
        raise OptionError(f"{size.channels} channels can't be shared by {size.heads} heads: choose a multiple.")
    return size


def config_of(size: Size, vocabulary_size: int) -> GPTConfig:
    """Return the configuration of a size, whose checkpoints transformers loads as GPT-1, GPT-2 or GPT-Neo."""
    values: dict[str, Any]
    if size.kind == "gpt-3":
        kinds = [("global", "local")[layer % 2] for layer in range(size.layers)]
        values = {
            "model_type": "gpt_neo",
            "hidden_size": size.channels,
            "num_layers": size.layers,
            "num_heads": size.heads,
            "max_position_embeddings": size.context,
            "attention_types": [[kinds, 1]],
        }
    else:
        values = {
            "model_type": "gpt2" if size.kind == "gpt-2" else "openai-gpt",
            "n_embd": size.channels,
            "n_layer": size.layers,
            "n_head": size.heads,
            "n_positions": size.context,
        }
    return config_from_values({**values, "vocab_size": vocabulary_size}, "the chosen size")


def parameters_of(config: GPTConfig) -> int:
    """Return how many weights a model of a configuration has.

    Example:
        >>> parameters_of(config_of(size_of("gpt-2-small"), 50257))
        124439808
    """
    return sum(math.prod(shape) for shape in tensor_shapes(config).values())


def learning_rate_of(size: Size) -> float:
    """Return the highest learning rate that the paper of GPT-3 has for so many channels; 1e-3 for fewer than any."""
    return next(rate for channels, rate in (*_RATES, *_RATES_OF_SMALL) if size.channels >= channels)
