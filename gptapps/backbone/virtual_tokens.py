"""Embeddings that belong to no token of the vocabulary and stand in front of every text: a learned, soft prompt.

They get the ids behind the vocabulary's, so that whatever handles ids handles them. In files they lie in peft's layout
(PROMPT_TUNING), in both directions.

Symbols: V vocabulary, N virtual tokens, C channels.

Source: Lester, Al-Rfou and Constant 2021 (prompt tuning), section 2.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gptapps.backbone.config import GPTConfig
from gptapps.backbone.families.settings import Settings
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from gptapps.backbone.safetensors_files import SafetensorsSource, read_json, write_json, write_safetensors
from gptapps.errors import CheckpointError

_TENSOR = "prompt_embeddings"


class PromptedEmbedding(nn.Module):
    """A token embedding whose ids go on behind the vocabulary.

    Args:
        base: of the vocabulary; the matrix (V, C) stays the one that a tied head shares.
        virtual: (N, C) of the ids V to V + N - 1.
    """

    def __init__(self, base: nn.Embedding, virtual: Tensor) -> None:
        super().__init__()
        self.base = base
        self.virtual = nn.Parameter(virtual)

    @property
    def weight(self) -> Tensor:
        """The vocabulary's matrix (V, C)."""
        return self.base.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Return (..., C) for (...) ids."""
        behind = ids - self.base.num_embeddings
        is_virtual = behind >= 0
        known = self.base(ids.masked_fill(is_virtual, 0))
        learned = nn.functional.embedding(behind.clamp_min(0), self.virtual).to(known.dtype)
        return torch.where(is_virtual.unsqueeze(-1), learned, known)


def install_virtual_tokens(backbone: GPTBackbone, virtual: Tensor) -> tuple[int, ...]:
    """Give a backbone virtual tokens (N, C) and return their ids."""
    base = backbone.token_embedding
    if not isinstance(base, nn.Embedding):
        raise TypeError("the backbone has virtual tokens already")
    backbone.register_module("token_embedding", PromptedEmbedding(base, virtual.to(base.weight.device)))
    first = backbone.config.vocabulary_size
    return tuple(range(first, first + len(virtual)))


def read_virtual_tokens(directory: Path, config: GPTConfig) -> Tensor:
    """Return the virtual tokens (N, C) that a folder in peft's layout holds.

    Raises:
        CheckpointError: a file is absent or damaged, or of another model.
        UnsupportedModelError: it is no soft prompt.
    """
    settings = Settings(read_json(directory / ADAPTER_CONFIG), str(directory / ADAPTER_CONFIG))
    if settings.text("peft_type") != "PROMPT_TUNING":
        raise settings.unsupported("peft_type", "a soft prompt has to be of the type PROMPT_TUNING")
    source = SafetensorsSource(str(directory), [directory / ADAPTER_WEIGHTS])
    if _TENSOR not in source.names():
        raise CheckpointError(f"{source.place} lacks {_TENSOR}: fetch or train the prompt again.")
    shape = source.shape(_TENSOR)
    if len(shape) != 2 or shape[1] != config.channels:
        raise CheckpointError(
            f"{source.place} holds {_TENSOR} of shape {shape}, and the model's embeddings have {config.channels} "
            "channels: name the model that it was trained on."
        )
    # transformers takes them behind its scaling of embeddings, this backbone before it.
    return source.read(_TENSOR) / config.embedding_scale


def write_virtual_tokens(virtual: Tensor, directory: Path, config: GPTConfig, *, base: str | None = None) -> None:
    """Write virtual tokens (N, C) in peft's layout; a file that is there is replaced at once.

    Args:
        virtual: the embeddings.
        directory: created where it is absent.
        config: of the model they were trained on.
        base: name of that model, for people and programs that read the folder.

    Raises:
        ResourceError: the disk is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_safetensors(
        directory / ADAPTER_WEIGHTS, {_TENSOR: virtual.detach() * config.embedding_scale}, {"format": "pt"}
    )
    values = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "num_virtual_tokens": len(virtual),
        "token_dim": config.channels,
        "num_transformer_submodules": 1,
        "num_attention_heads": config.attention.heads,
        "num_layers": config.layers,
        "prompt_tuning_init": "RANDOM",
    }
    write_json(directory / ADAPTER_CONFIG, values)
