"""What training left is put on the model that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.model_identity import model_identity
from gptapps.decoding.trained_heads import with_head
from gptapps.errors import CheckpointError, ModelNotFoundError
from gptapps.trained_model import Base, TrainedModel, read_trained_model

Apply = Callable[[LanguageModel, TrainedModel], LanguageModel]

_APPLY: Mapping[str, str] = {
    "head": "gptapps.decoding.trained_heads:with_head",
    "lora": "gptapps.decoding.trained_adapters:with_low_rank",
    "prompt": "gptapps.decoding.trained_adapters:with_virtual_tokens",
}
"""Method -> what puts the folder's content on its base, as ``"module:function"``."""


def load_trained(path: str, base: str | None, load: Callable[[str], LanguageModel]) -> LanguageModel:
    """Load a trained folder and the model that it was trained on.

    Args:
        path: of the folder.
        base: where the base lies now; None where it has the name it was trained by.
        load: loads a model that isn't a trained one.

    Raises:
        ModelNotFoundError: the base isn't there.
        CheckpointError: a file is missing or damaged, or the base is another model than the one trained on.
    """
    trained = read_trained_model(path)
    if trained.base is None:
        return replace(_with_head_beside(load(str(trained.path)), trained), name=path, trained=trained)
    try:
        model = load(base or trained.base.name)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"{trained.path} was trained on the model {trained.base.name!r}, which can't be loaded ({error}) Say with "
            "base where it lies now."
        ) from None
    found = base_of(model)
    if found.of == trained.base.of and found.sha256 != trained.base.sha256:
        raise CheckpointError(
            f"{trained.path} was trained on another model than {found.name!r} is now: name the one it was trained on "
            "with base, or train again."
        )
    return with_trained(model, trained, name=path)


def with_trained(model: LanguageModel, trained: TrainedModel, *, name: str) -> LanguageModel:
    """Return ``model``, a base, with what was trained on it applied.

    Raises:
        CheckpointError: a file is missing or damaged, or comes from a method that this release doesn't know.
    """
    if trained.method not in _APPLY:
        raise CheckpointError(
            f"{trained.path} was trained by the method {trained.method!r}, which this release of gptapps doesn't know: "
            "install the release that wrote it."
        )
    module, _, function = _APPLY[trained.method].partition(":")
    apply: Apply = getattr(import_module(module), function)
    return replace(_with_head_beside(apply(model, trained), trained), name=name, packaged=None, trained=trained)


def _with_head_beside(model: LanguageModel, trained: TrainedModel) -> LanguageModel:
    return with_head(model, trained) if "head" in trained.settings else model


def base_of(model: LanguageModel) -> Base:
    """Return what a trained folder says about the model it was trained on."""
    known = model_identity(replace(model, task_head=None))  # as it is loaded to put something else on it
    kind = known["of"] if known["of"] == "file" else f"weights in {str(model.backbone.dtype).removeprefix('torch.')}"
    return Base(model.name, known["sha256"], kind)
