"""The models that are timed: their sizes, on what they are timed, and what that costs at least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.speed.gpu.roofline import Cost

_BACKWARD = 2.5
"""Operations of attention's backward pass for one of its forward pass, the scores being worked out again."""
_UPDATE_READS_AND_WRITES = 10
"""How often a training step touches each weight's place: two reads, a gradient written, and AdamW's seven."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A Llama of some size.

    Attributes:
        name: as tables call it.
        channels, layers, heads, kv_heads, head_size, feed_forward, vocabulary: C, L, H, K, D, F and V.
        tied: the vocabulary projection is the embedding.
        prefills: prompts that are read, B and T.
        decoded: how many texts are continued at once, behind how many tokens of each.
        trained: B and T of a training step; None for none.
        trained_layers: how many of its layers are trained, where all don't fit twice beside the optimizer's state.
        context: the most tokens of a text.
    """

    name: str
    channels: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    tied: bool
    prefills: tuple[tuple[int, int], ...]
    decoded: tuple[tuple[int, int], ...]
    trained: tuple[int, int] | None
    trained_layers: int | None = None
    context: int = 16384

    def values(self, layers: int) -> dict[str, Any]:
        """Return what transformers' configuration is made of, with ``layers`` layers."""
        return {
            "hidden_size": self.channels,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": self.context,
            "initializer_range": 1.5 * self.channels**-0.5,  # scores far enough apart that masks and places show
            "bos_token_id": None,
            "eos_token_id": None,
        }

    def matrices(self, layers: int) -> int:
        """Return the weights that every token is multiplied by, the vocabulary projection left out."""
        attention = 2 * self.channels * self.head_size * (self.heads + self.kv_heads)
        return layers * (attention + 3 * self.channels * self.feed_forward)

    def prefill_cost(self, batch: int, tokens: int, element: int) -> Cost:
        """Return the cost of reading prompts and predicting one token of each."""
        matrices, head = self.matrices(self.layers), self.channels * self.vocabulary
        operations = 2 * batch * (tokens * matrices + head) + self._attention(self.layers, batch, tokens)
        return Cost(element * (matrices + head), operations)

    def decode_cost(self, batch: int, tokens: int, element: int) -> Cost:
        """Return the cost of one more token behind ``tokens`` of each of ``batch`` texts."""
        weights = self.matrices(self.layers) + self.channels * self.vocabulary
        cache = 2 * self.layers * batch * tokens * self.kv_heads * self.head_size
        attention = 4 * self.layers * batch * tokens * self.heads * self.head_size
        return Cost(element * (weights + cache), 2 * batch * weights + attention)

    def training_cost(self, batch: int, tokens: int, element: int) -> Cost:
        """Return the cost of a step: forward, backward and AdamW."""
        layers = self.trained_layers or self.layers
        head = self.channels * self.vocabulary
        weights = self.matrices(layers) + head * (1 if self.tied else 2)
        operations = 6 * batch * tokens * (self.matrices(layers) + head)
        attention = self._attention(layers, batch, tokens) * (1 + _BACKWARD)
        return Cost(_UPDATE_READS_AND_WRITES * element * weights, int(operations + attention))

    def _attention(self, layers: int, batch: int, tokens: int) -> int:
        return 2 * layers * batch * self.heads * self.head_size * tokens * tokens  # causal: half of 4


LAYOUTS = (
    Layout(
        name="135M",
        channels=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_size=64,
        feed_forward=1536,
        vocabulary=49152,
        tied=True,
        prefills=((1, 2048), (8, 2048), (1, 512), (1, 8192)),
        decoded=((1, 512), (8, 512)),
        trained=(8, 1024),
    ),
    Layout(
        name="7B",
        channels=4096,
        layers=32,
        heads=32,
        kv_heads=8,
        head_size=128,
        feed_forward=14336,
        vocabulary=32000,
        tied=False,
        prefills=((1, 2048), (1, 8192)),
        decoded=((1, 512), (8, 512)),
        trained=(2, 2048),
        trained_layers=6,
    ),
    Layout(
        name="1B",
        channels=2048,
        layers=16,
        heads=32,
        kv_heads=8,
        head_size=64,
        feed_forward=8192,
        vocabulary=128256,
        tied=True,
        prefills=((1, 2048), (1, 8192)),
        decoded=((1, 512), (8, 512)),
        trained=(4, 1024),
    ),
)
"""In the order in which they are timed."""

DRY_LAYOUTS = (
    Layout(
        name="tiny",
        channels=32,
        layers=2,
        heads=2,
        kv_heads=1,
        head_size=16,
        feed_forward=48,
        vocabulary=101,
        tied=True,
        prefills=((1, 12),),
        decoded=((1, 5), (2, 5)),
        trained=(2, 9),
        trained_layers=1,
        context=64,
    ),
)
"""Small enough for Triton's interpreter, which takes a part of a second for every kernel."""
