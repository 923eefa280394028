"""Adapters, of ours or of peft's, put on the model they were trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gptapps.backbone.families.settings import Settings
from gptapps.backbone.low_rank import merge_low_rank
from gptapps.backbone.peft_files import ADAPTER_CONFIG, read_low_rank
from gptapps.backbone.safetensors_files import read_json
from gptapps.backbone.virtual_tokens import install_virtual_tokens, read_virtual_tokens
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import ModelNotFoundError
from gptapps.heads.language_model import LanguageModelHead
from gptapps.heads.loading import layers_anew
from gptapps.trained_model import TrainedModel


def load_adapter(path: str, base: str | None, load: Callable[[str], LanguageModel]) -> LanguageModel:
    """Load a folder in peft's layout, a LoRA or a soft prompt, and the model that it was trained on.

    Args:
        path: of the folder.
        base: where that model lies; None where it has the name that the folder says.
        load: loads a whole model.

    Raises:
        ModelNotFoundError: the folder names no base, or it isn't there.
        CheckpointError: a file is missing or damaged, or of another model.
        UnsupportedModelError: another kind of adapter.
    """
    folder = Path(path)
    settings = Settings(read_json(folder / ADAPTER_CONFIG), str(folder / ADAPTER_CONFIG))
    name = base or (settings.text("base_model_name_or_path") if settings.has("base_model_name_or_path") else None)
    if name is None:
        raise ModelNotFoundError(f"{path} holds an adapter and doesn't say of which model: name that with base.")
    try:
        model = load(name)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"{path} was trained on the model {name!r}, which can't be loaded ({error}) Say with base where it lies "
            "now."
        ) from None
    put_on = _with_virtual_tokens if settings.text("peft_type") == "PROMPT_TUNING" else _with_low_rank
    return replace(put_on(model, folder), name=path, packaged=None)


def with_low_rank(model: LanguageModel, trained: TrainedModel) -> LanguageModel:
    """Return the model with a LoRA merged into its weights, so that it costs nothing.

    Raises:
        CheckpointError: a file is missing or damaged.
        UnsupportedModelError: the folder holds another kind of adapter.
    """
    return _with_low_rank(model, trained.path)


def with_virtual_tokens(model: LanguageModel, trained: TrainedModel) -> LanguageModel:
    """Return the model with a learned prompt in front of every prompt.

    Raises:
        CheckpointError: a file is missing or damaged, or of another model.
        UnsupportedModelError: the folder holds another kind of adapter.
    """
    return _with_virtual_tokens(model, trained.path)


def model_anew(model: LanguageModel, *, own_memory: bool = False) -> LanguageModel:
    """Return the same model made of new layers; see :func:`gptapps.heads.loading.layers_anew`."""
    if not isinstance(model.head, LanguageModelHead):
        raise TypeError(f"{model.name} has no vocabulary head to train with")
    backbone, head = layers_anew(model.backbone, model.head, own_memory=own_memory)
    return replace(model, backbone=backbone, head=head)


def _with_low_rank(model: LanguageModel, folder: Path) -> LanguageModel:
    adapter = read_low_rank(folder, model.backbone.config)
    anew = model_anew(model)
    merge_low_rank(anew.backbone, adapter)
    return anew


def _with_virtual_tokens(model: LanguageModel, folder: Path) -> LanguageModel:
    virtual = read_virtual_tokens(folder, model.backbone.config)
    anew = model_anew(model)
    return replace(anew, opening=install_virtual_tokens(anew.backbone, virtual))
