"""The parts of a block, chosen by the configuration: norm, feed-forward, wiring."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptapps import kernels
from gptapps.backbone.attention import Attention, Step
from gptapps.backbone.config import FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.linear import linear


class LayerNorm(nn.Module):
    """Layer norm with scale and shift."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (..., C)."""
        return kernels.layer_norm(x, self.weight, self.bias, self.epsilon)

    def add(self, x: Tensor, left: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``norm(x + left)`` and the sum, each (..., C); None adds nothing."""
        return (self(x), x) if left is None else kernels.add_layer_norm(x, left, self.weight, self.bias, self.epsilon)


class RMSNorm(nn.Module):
    """Root-mean-square norm with scale."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (..., C)."""
        return kernels.rms_norm(x, self.weight, self.epsilon)

    def add(self, x: Tensor, left: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``norm(x + left)`` and the sum, each (..., C); None adds nothing."""
        return (self(x), x) if left is None else kernels.add_rms_norm(x, left, self.weight, self.epsilon)


def make_norm(config: NormConfig, channels: int) -> LayerNorm | RMSNorm:
    """Return the norm that ``config`` asks for."""
    kinds: dict[Norm, type[LayerNorm] | type[RMSNorm]] = {Norm.LAYER: LayerNorm, Norm.RMS: RMSNorm}
    return kinds[config.kind](channels, config.epsilon)


class PlainFeedForward(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, config: FeedForwardConfig, channels: int) -> None:
        super().__init__()
        self.up = linear(channels, config.size, bias=config.bias)
        self.down = linear(config.size, channels, bias=config.bias)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        out: Tensor = self.down(kernels.plain_activation(self.up(x), self.activation))
        return out


class GatedFeedForward(nn.Module):
    """SwiGLU or GEGLU: one projection makes gate and value."""

    def __init__(self, config: FeedForwardConfig, channels: int) -> None:
        super().__init__()
        self.gate_up = linear(channels, 2 * config.size, bias=config.bias)
        self.down = linear(config.size, channels, bias=config.bias)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        out: Tensor = self.down(kernels.gated_activation(self.gate_up(x), self.activation))
        return out


def make_feed_forward(config: FeedForwardConfig, channels: int) -> nn.Module:
    """Return the feed-forward layer that ``config`` asks for."""
    return (GatedFeedForward if config.gated else PlainFeedForward)(config, channels)


class PreNormBlock(nn.Module):
    """``x + attention(norm(x))``, then the same with the feed-forward layer (GPT-2, Llama).

    A block leaves what is still to be added to its output to whoever reads it: the next norm adds and normalizes in one
    pass over the numbers.
    """

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config.norm, config.channels)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = make_norm(config.norm, config.channels)
        self.feed_forward = make_feed_forward(config.feed_forward, config.channels)

    def forward(self, x: Tensor, left: Tensor | None, step: Step) -> tuple[Tensor, Tensor | None]:
        """Read ``x + left`` (B, T, C), or ``x`` where nothing is left, and return such a pair."""
        normed, x = self.attention_norm.add(x, left)
        normed, x = self.feed_forward_norm.add(x, self.attention(normed, step))
        return x, self.feed_forward(normed)


class PostNormBlock(PreNormBlock):
    """``norm(x + attention(x))``, then the same with the feed-forward layer (GPT-1); it leaves nothing."""

    def forward(self, x: Tensor, left: Tensor | None, step: Step) -> tuple[Tensor, None]:
        """See :meth:`PreNormBlock.forward`."""
        x = x if left is None else x + left
        x, _ = self.attention_norm.add(x, self.attention(x, step))
        x, _ = self.feed_forward_norm.add(x, self.feed_forward(x))
        return x, None


class ParallelBlock(nn.Module):
    """Attention and feed-forward side by side behind one norm (GPT-J) or a norm each (GPT-NeoX)."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config.norm, config.channels)
        self.attention = Attention(config, layer)
        two = config.wiring is Wiring.PARALLEL_TWO_NORMS
        self.feed_forward_norm = make_norm(config.norm, config.channels) if two else None
        self.feed_forward = make_feed_forward(config.feed_forward, config.channels)

    def forward(self, x: Tensor, left: Tensor | None, step: Step) -> tuple[Tensor, Tensor | None]:
        """See :meth:`PreNormBlock.forward`."""
        normed, x = self.attention_norm.add(x, left)
        other = normed if self.feed_forward_norm is None else self.feed_forward_norm(x)
        return x + self.attention(normed, step), self.feed_forward(other)


class SandwichBlock(PreNormBlock):
    """A norm before and after each half, the second one inside the residual (Gemma 3)."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.attention_output_norm = make_norm(config.norm, config.channels)
        self.feed_forward_output_norm = make_norm(config.norm, config.channels)

    def forward(self, x: Tensor, left: Tensor | None, step: Step) -> tuple[Tensor, Tensor | None]:
        """See :meth:`PreNormBlock.forward`."""
        normed, x = self.attention_norm.add(x, left)
        attended = self.attention_output_norm(self.attention(normed, step))
        normed, x = self.feed_forward_norm.add(x, attended)
        return x, self.feed_forward_output_norm(self.feed_forward(normed))


def make_block(config: GPTConfig, layer: int) -> nn.Module:
    """Return the block that the configuration's wiring asks for."""
    kinds: dict[Wiring, type[nn.Module]] = {
        Wiring.PRE_NORM: PreNormBlock,
        Wiring.POST_NORM: PostNormBlock,
        Wiring.PARALLEL: ParallelBlock,
        Wiring.PARALLEL_TWO_NORMS: ParallelBlock,
        Wiring.SANDWICH: SandwichBlock,
    }
    return kinds[config.wiring](config, layer)
