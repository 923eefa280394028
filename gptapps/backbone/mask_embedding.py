"""The embedding of a token that is hidden from the model, which learned to tell it from what stands around it.

It is a virtual token behind the vocabulary: it can be read, and never be said. In a model's folder it has a file of its
own, whose presence says that the model was trained on masked text.

Symbols: V vocabulary, C channels.

Source: Devlin et al. 2019 (BERT), section 3.1.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.safetensors_files import SafetensorsSource, write_safetensors
from gptapps.backbone.virtual_tokens import PromptedEmbedding, install_virtual_tokens
from gptapps.errors import CheckpointError

MASK_WEIGHTS = "mask_embedding.safetensors"
_TENSOR = "mask_embedding"


def is_masked_model(directory: Path) -> bool:
    """Return whether a folder holds a model that was trained on masked text."""
    return (directory / MASK_WEIGHTS).is_file()


def install_mask(backbone: GPTBackbone, mask: Tensor) -> int:
    """Give a backbone the embedding (C,) of the mask; return its id, V."""
    return install_virtual_tokens(backbone, mask.unsqueeze(0))[0]


def remove_mask(backbone: GPTBackbone) -> Tensor:
    """Take the mask from a backbone that has one; return its embedding (C,)."""
    embedding = backbone.token_embedding
    if not isinstance(embedding, PromptedEmbedding):
        raise TypeError("the backbone has no mask")
    backbone.register_module("token_embedding", embedding.base)
    return embedding.virtual.detach()[0]


def read_mask(directory: Path, channels: int) -> Tensor:
    """Return the embedding (C,) of the mask that a folder holds.

    Raises:
        CheckpointError: it is absent, damaged or of another model.
    """
    source = SafetensorsSource(str(directory), [directory / MASK_WEIGHTS])
    if _TENSOR not in source.names() or source.shape(_TENSOR) != (channels,):
        raise CheckpointError(f"{directory / MASK_WEIGHTS} holds no mask of this model: pre-train it again.")
    return source.read(_TENSOR)


def write_mask(mask: Tensor, directory: Path) -> None:
    """Write the embedding (C,) of the mask into a model's folder.

    Raises:
        ResourceError: the disk is full.
    """
    write_safetensors(directory / MASK_WEIGHTS, {_TENSOR: mask.detach()}, {"format": "pt"})
