"""A model on both sides, with the same random weights: how each reads prompts, continues texts and learns.

Symbols: B texts, T tokens, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.gpu.card import Card
from benchmarks.speed.gpu.layouts import Layout
from gptapps import kernels
from gptapps.backbone.checkpoint import config_from_values
from gptapps.backbone.families.llama import LLAMA
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.weights import Weights, assemble, build_backbone
from gptapps.heads.language_model import LanguageModelHead

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Ours:
    """gptapps' side: a backbone and its vocabulary head."""

    backbone: GPTBackbone
    head: LanguageModelHead

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Every weight, a shared one once."""
        return list({id(one): one for part in (self.backbone, self.head) for one in part.parameters()}.values())

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits (B, T, V) behind every token."""
        out: Tensor = self.head(self.backbone(tokens))
        return out

    def prefill(self, tokens: Tensor) -> Tensor:
        """Read prompts into a new cache and return the logits (B, V) behind the last tokens."""
        backbone = self.backbone
        rows = KVCache(backbone.config, dtype=backbone.dtype, device=backbone.device).add_rows(len(tokens))
        out: Tensor = self.head(backbone(tokens, cache=rows)[:, -1])
        return out

    def loss(self, tokens: Tensor) -> Tensor:
        """Return the mean loss of each token but the first, as a part of all."""
        hidden = self.backbone(tokens).flatten(0, 1)
        targets = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=IGNORED).flatten()
        total = kernels.linear_cross_entropy(hidden, self.head.projection.weight, targets, ignore_index=IGNORED)
        return total / (tokens.numel() - len(tokens))


@dataclass(frozen=True, slots=True)
class Theirs:
    """transformers' side, as it is or compiled."""

    model: Any

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Every weight, a shared one once."""
        return list(self.model.parameters())

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits (B, T, V) behind every token."""
        out: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return out

    def prefill(self, tokens: Tensor) -> Tensor:
        """Read prompts into a new cache and return the logits (B, V) behind the last tokens."""
        out: Tensor = self.model(input_ids=tokens, use_cache=True, logits_to_keep=1).logits[:, -1]
        return out

    def loss(self, tokens: Tensor) -> Tensor:
        """Return the mean loss of each token but the first."""
        out: Tensor = self.model(input_ids=tokens, labels=tokens, use_cache=False).loss
        return out

    def generate(self, prompts: Tensor, new_tokens: int, *, is_static: bool) -> float:
        """Continue prompts by ``generate``, and return the seconds between two tokens.

        Args:
            prompts: (B, T).
            new_tokens: at least 2.
            is_static: keys and values lie in one place, which lets transformers compile the model and capture its
                steps as CUDA graphs.

        Raises:
            RuntimeError: it didn't, on a GPU.
        """
        clock = _Clock()
        options: dict[str, Any] = {"cache_implementation": "static"} if is_static else {}
        with torch.inference_mode(False):  # it has a mode of its own, for which its compiled steps are made
            self.model.generate(
                input_ids=prompts.clone(),
                attention_mask=torch.ones_like(prompts),
                min_new_tokens=new_tokens,
                max_new_tokens=new_tokens,
                do_sample=False,
                pad_token_id=0,
                streamer=clock,
                **options,
            )
        if is_static and prompts.is_cuda and getattr(self.model, "_compiled_call", None) is None:
            raise RuntimeError("transformers compiled nothing, though keys and values lie in one place.")
        return (clock.times[-1] - clock.times[1]) / (new_tokens - 1)  # the prompt itself comes first


class _Clock:
    """Takes the time of each token, as a streamer of ``generate``."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        """Note when a token has arrived in the host's memory."""
        value.tolist()
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing."""


class _Tensors:
    """The state of a model in memory, as :func:`~gptapps.backbone.weights.assemble` reads files."""

    place = "the model"

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def names(self) -> Iterable[str]:
        return self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def read(self, name: str) -> Tensor:
        return self._tensors[name].clone()


def build_theirs(card: Card, layout: Layout, layers: int) -> Theirs:
    """Return transformers' model with random weights, in the run's number type."""
    import transformers

    from_config: Any = transformers.AutoModelForCausalLM.from_config
    transformers.set_seed(0)
    config = transformers.LlamaConfig(**layout.values(layers))
    with torch.device(card.device):
        model = from_config(config, dtype=card.dtype, attn_implementation="sdpa")
    return Theirs(model.eval())


def build_ours(theirs: Theirs) -> Ours:
    """Return gptapps' model with copies of the same weights."""
    config = config_from_values(theirs.model.config.to_dict(), "the configuration")
    state = dict(theirs.model.state_dict())
    if config.tied_vocabulary:
        state.pop("lm_head.weight", None)
    weights = Weights(config, assemble(config, LLAMA.rows, _Tensors(state)))
    backbone = build_backbone(weights)
    with torch.device("meta"):
        head = LanguageModelHead(backbone)
    if not config.tied_vocabulary:
        head.load_state_dict(weights.head, assign=True)
    return Ours(backbone.eval(), head.eval())
