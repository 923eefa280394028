"""A model without its weights: it encodes, renders prompts and knows what it can hold, and is there at once."""

from __future__ import annotations

from pathlib import Path

import torch

from gptapps.backbone.checkpoint import CONFIG, config_from_values
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.gguf_checkpoint import read_gguf_config
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.safetensors_files import read_json
from gptapps.decoding.language_model import LanguageModel
from gptapps.heads.language_model import LanguageModelHead
from gptapps.model_store import Progress, derived_directory, resolve
from gptapps.tokenization.loading import load_tokenizer
from gptapps.trained_model import is_trained_model, read_trained_model


def outlined_model(
    name: str, *, revision: str | None = None, offline: bool = False, progress: Progress | None = None
) -> LanguageModel:
    """Return a model whose weights were not read; a pipeline may be made of it, and can't be run.

    What the model is able to do is not asked: it may be about to learn that.

    Args:
        name: a packaged model's name, a directory, a GGUF file, a hub id, or what training left.
        revision: branch, tag or commit of a hub id.
        offline: fetch nothing.
        progress: told about downloads.

    Raises:
        ModelError: it can't be found, fetched or read.

    Example:
        >>> outlined_model("smollm2-135m-instruct").context_length           # doctest: +SKIP
        8192
    """
    if is_trained_model(name) and (base := read_trained_model(name).base) is not None:
        name = base.name
    local = resolve(name, revision=revision, offline=offline, progress=progress)
    config = _config(local.path)
    with torch.device("meta"):
        backbone = GPTBackbone(config)
        head = LanguageModelHead(backbone)
    tokenizer = load_tokenizer(local.path, derived=derived_directory(local) if local.packaged else None)
    return LanguageModel(name, backbone.eval(), head.eval(), tokenizer)


def _config(path: Path) -> GPTConfig:
    if path.is_dir():
        return config_from_values(read_json(path / CONFIG), str(path / CONFIG))
    return read_gguf_config(path)
