"""The frozen description of a GPT: sizes, and which of a few small parts each layer is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gptapps.backbone.rotary import RotaryConfig
from gptapps.errors import UnsupportedModelError


class Norm(StrEnum):
    """How activations are normalized."""

    LAYER = "layer"
    RMS = "rms"


class Wiring(StrEnum):
    """Where a block's norms stand, and whether its two halves run after each other or side by side."""

    PRE_NORM = "pre_norm"  # GPT-2: x + f(norm(x))
    POST_NORM = "post_norm"  # GPT-1: norm(x + f(x))
    PARALLEL = "parallel"  # GPT-J: x + attention(norm(x)) + feed_forward(norm(x)), one norm
    PARALLEL_TWO_NORMS = "parallel_two_norms"  # GPT-NeoX: the same with a norm each
    SANDWICH = "sandwich"  # Gemma 3: x + norm(f(norm(x)))


class Activation(StrEnum):
    """The feed-forward layer's non-linearity."""

    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    SILU = "silu"
    RELU = "relu"


@dataclass(frozen=True, slots=True)
class NormConfig:
    """Kind of norm and the epsilon added under its root."""

    kind: Norm
    epsilon: float


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """Shape and options of the attention layers.

    Attributes:
        heads: H, query heads.
        kv_heads: K, key/value heads; H is a multiple of it.
        head_size: D; need not be C / H.
        scale: multiplies the scores; D ** -0.5 in most families, 1 in GPT-Neo.
        qkv_bias: queries, keys and values have a bias.
        output_bias: the output projection has a bias.
        qk_norm: queries and keys are RMS-normalized per head before the rotation.
    """

    heads: int
    kv_heads: int
    head_size: int
    scale: float
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False


@dataclass(frozen=True, slots=True)
class FeedForwardConfig:
    """Shape and options of the feed-forward layers; ``gated`` is SwiGLU or GEGLU by activation."""

    size: int
    activation: Activation
    gated: bool
    bias: bool


@dataclass(frozen=True, slots=True)
class GPTConfig:
    """Everything a :class:`~gptapps.backbone.gpt.GPTBackbone` is built from.

    Attributes:
        family: name of the table that maps its tensors, such as ``"llama"``.
        vocabulary_size: V.
        context_length: the most tokens a sequence may have.
        channels: C.
        layers: number of blocks.
        attention, feed_forward, norm, wiring: what the blocks are made of.
        windows: for each layer how many tokens back, itself included, a token may look; None for all.
        rotary: rotary positions; None means a learned embedding of each position.
        local_rotary: rotary positions of the layers with a window, where they differ (Gemma 3).
        final_norm: a norm stands after the last block.
        embedding_scale: multiplies the token embeddings.
        tied_vocabulary: the vocabulary projection is the token embedding.
        vocabulary_bias: the vocabulary projection has a bias.
        logit_cap: logits are squashed to (-cap, cap) by tanh; None for not at all.

    Raises:
        UnsupportedModelError: a combination that no family uses.
    """

    family: str
    vocabulary_size: int
    context_length: int
    channels: int
    layers: int
    attention: AttentionConfig
    feed_forward: FeedForwardConfig
    norm: NormConfig
    wiring: Wiring
    windows: tuple[int | None, ...]
    rotary: RotaryConfig | None = None
    local_rotary: RotaryConfig | None = None
    final_norm: bool = True
    embedding_scale: float = 1.0
    tied_vocabulary: bool = True
    vocabulary_bias: bool = False
    logit_cap: float | None = None

    def __post_init__(self) -> None:
        for problem, present in (
            (
                f"{len(self.windows)} attention windows for {self.layers} layers",
                len(self.windows) != self.layers,
            ),
            (
                f"{self.attention.heads} heads that {self.attention.kv_heads} key/value heads do not divide",
                self.attention.heads % self.attention.kv_heads != 0,
            ),
            (
                "an attention window below one token",
                any(window is not None and window < 1 for window in self.windows),
            ),
            (
                "a rotation of more channels than a head has",
                any(r is not None and r.size > self.attention.head_size for r in (self.rotary, self.local_rotary)),
            ),
            ("positions for windowed layers only", self.local_rotary is not None and self.rotary is None),
            (
                "sandwich norms that are no RMS norms",
                self.wiring is Wiring.SANDWICH and self.norm.kind is not Norm.RMS,
            ),
            (
                "parallel halves with RMS norms",
                self.wiring in (Wiring.PARALLEL, Wiring.PARALLEL_TWO_NORMS) and self.norm.kind is Norm.RMS,
            ),
            (
                "a final norm after post-norm blocks",
                self.wiring is Wiring.POST_NORM and self.final_norm,
            ),
            ("a bias on a tied vocabulary projection", self.vocabulary_bias and self.tied_vocabulary),
        ):
            if present:
                raise UnsupportedModelError(
                    f"The {self.family} configuration asks for {problem}, which no GPT family has."
                )

    def rotary_of(self, layer: int) -> RotaryConfig | None:
        """Return the rotary positions of ``layer``, or None where positions are learned."""
        if self.windows[layer] is not None and self.local_rotary is not None:
            return self.local_rotary
        return self.rotary
