"""Tiny random transformers models, one for each thing in which families differ, and ours beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.rotary import DynamicScaling, LongRopeScaling
from gptapps.heads.language_model import LanguageModelHead
from gptapps.heads.loading import load_language_model

VOCABULARY = 99
TOKENS = 24  # longer than every window, and than every context that a rotary scaling starts from
ORIGINAL_CONTEXT = 16

_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
}
_NEOX = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
_NEO = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_layers": 8,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 4]],
    "window_size": 5,
    "max_position_embeddings": 64,
}
_GEMMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 12,
    "query_pre_attn_scalar": 20,
    "sliding_window": 5,
    "max_position_embeddings": 64,
}


def _rope(kind: str, **values: object) -> dict[str, Any]:
    return _LLAMA | {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **values}}


CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "gpt1": ("openai-gpt", _GPT2),
    "gpt1-untied": ("openai-gpt", _GPT2 | {"tie_word_embeddings": False, "afn": "silu"}),
    "gpt2": ("gpt2", _GPT2),
    "gpt2-untied": ("gpt2", _GPT2 | {"tie_word_embeddings": False, "n_inner": 40, "activation_function": "relu"}),
    "gpt2-unscaled": ("gpt2", _GPT2 | {"scale_attn_weights": False}),
    "gpt_neo": ("gpt_neo", _NEO),
    "gpt_neo-untied": ("gpt_neo", _NEO | {"tie_word_embeddings": False, "intermediate_size": 40}),
    "gptj": ("gptj", _GPT2 | {"rotary_dim": 4, "n_inner": 40}),
    "gpt_neox": ("gpt_neox", _NEOX),
    "gpt_neox-tied": ("gpt_neox", _NEOX | {"tie_word_embeddings": True, "attention_bias": False}),
    "gpt_neox-sequential": (
        "gpt_neox",
        _NEOX
        | {
            "use_parallel_residual": False,
            "hidden_act": "gelu_new",
            "rope_parameters": {
                "rope_type": "linear",
                "factor": 2.0,
                "rope_theta": 5000.0,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    "llama": ("llama", _LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}),
    "llama-tied": ("llama", _LLAMA | {"tie_word_embeddings": True, "head_dim": None, "num_key_value_heads": 4}),
    "llama-biased": ("llama", _LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama-linear": ("llama", _rope("linear", factor=4.0)),
    "llama-dynamic": ("llama", _rope("dynamic", factor=2.0) | {"max_position_embeddings": ORIGINAL_CONTEXT}),
    "llama-yarn": (
        "llama",
        _rope("yarn", factor=4.0, original_max_position_embeddings=ORIGINAL_CONTEXT, beta_fast=4.0, beta_slow=0.5),
    ),
    "llama-yarn-mscale": (
        "llama",
        _rope(
            "yarn",
            factor=4.0,
            original_max_position_embeddings=ORIGINAL_CONTEXT,
            mscale=0.7,
            mscale_all_dim=0.3,
            truncate=False,
        ),
    ),
    "llama-longrope": (
        "llama",
        _rope(
            "longrope",
            original_max_position_embeddings=ORIGINAL_CONTEXT,
            factor=4.0,
            short_factor=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
            long_factor=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        ),
    ),
    "llama-llama3": (
        "llama",
        _rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=ORIGINAL_CONTEXT,
        ),
    ),
    "mistral": ("mistral", _LLAMA | {"sliding_window": 5}),
    "mistral-dense": ("mistral", _LLAMA | {"sliding_window": None, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", _LLAMA | {"head_dim": 8, "tie_word_embeddings": True}),
    "qwen2-windows": (
        "qwen2",
        _LLAMA
        | {
            "head_dim": 8,
            "num_hidden_layers": 7,
            "use_sliding_window": True,
            "sliding_window": 5,
            "max_window_layers": 3,
        },
    ),
    "qwen3": ("qwen3", _LLAMA | {"attention_bias": True}),
    "qwen3-windows": (
        "qwen3",
        _LLAMA
        | {
            "num_hidden_layers": 7,
            "use_sliding_window": True,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention"] * 3 + ["sliding_attention"],
            "tie_word_embeddings": True,
        },
    ),
    "gemma3": ("gemma3_text", _GEMMA),
    "gemma3-scaled": (
        "gemma3_text",
        _GEMMA
        | {
            "tie_word_embeddings": False,
            "attention_bias": True,
            "final_logit_softcapping": 10.0,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            },
        },
    ),
}
"""Name -> transformers' model type and what its configuration is made with."""

ONE_PER_FAMILY = (
    "gpt1",
    "gpt2",
    "gpt_neo",
    "gptj",
    "gpt_neox",
    "llama",
    "mistral",
    "qwen2-windows",
    "qwen3-windows",
    "gemma3",
)
"""Cases that between them have every family and every way of wiring, windows where the family has them."""


@dataclass(frozen=True, slots=True)
class TinyModel:
    """The same weights as transformers' model, as files, and as ours."""

    theirs: PreTrainedModel
    directory: Path
    backbone: GPTBackbone
    head: LanguageModelHead

    @property
    def stable_length(self) -> int:
        """The tokens a text may have before its rotation depends on the text's length."""
        rotary = self.backbone.config.rotary
        if rotary is not None and isinstance(rotary.scaling, (DynamicScaling, LongRopeScaling)):
            return rotary.scaling.original_context
        return TOKENS

    def their_logits(self, tokens: Tensor) -> Tensor:
        """Return transformers' logits (B, T, V)."""
        self.theirs(input_ids=tokens[:, :1])  # a scaling that grew with an earlier text shrinks again
        logits: Tensor = self.theirs(input_ids=tokens).logits
        return logits

    def our_logits(self, tokens: Tensor) -> Tensor:
        """Return our logits (B, T, V), read in one piece."""
        logits: Tensor = self.head(self.backbone(tokens))
        return logits


def make_theirs(model_type: str, values: Mapping[str, Any], seed: int = 0) -> PreTrainedModel:
    """Return a transformers model in which no weight is at its default, neither norms nor biases."""
    config = AutoConfig.for_model(model_type, **values)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    model = AutoModelForCausalLM.from_config(config).eval()
    scatter(model, seed)
    return model


def scatter(model: torch.nn.Module, seed: int) -> None:
    """Give every parameter random values of a size that keeps activations alive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                centre = 1.0 if "norm" in name or "ln_" in name else 0.0
                parameter.copy_((centre if name.endswith("weight") else 0.0) + 0.3 * noise)
            else:
                parameter.copy_(noise * (0.7 if "emb" in name or "wte" in name else 1.5 * parameter.shape[-1] ** -0.5))


def make_tiny(name: str, directory: Path) -> TinyModel:
    """Return the model of a case, saved by transformers to ``directory`` and loaded from there by us."""
    theirs = make_theirs(*CASES[name])
    theirs.save_pretrained(directory)
    return TinyModel(theirs, directory, *load_language_model(directory))


def random_tokens(*shape: int, seed: int = 0) -> Tensor:
    """Return token ids of this shape."""
    return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def rewrite(directory: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Put changed tensors in the place of a checkpoint's own."""
    file = directory / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    save_file(change(tensors), file, {"format": "pt"})


def logits_of(directory: Path) -> Tensor:
    """Load a checkpoint and return our logits for some tokens."""
    backbone, head = load_language_model(directory)
    logits: Tensor = head(backbone(random_tokens(2, TOKENS)))
    return logits
