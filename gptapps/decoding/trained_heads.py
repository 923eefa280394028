"""A trained head from its folder."""

from __future__ import annotations

from dataclasses import replace

from gptapps.backbone.safetensors_files import SafetensorsSource
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CheckpointError
from gptapps.heads.linear_head import LinearHead
from gptapps.registry import HEADS
from gptapps.trained_model import TrainedModel

HEAD_FILE = "head.safetensors"


def with_head(model: LanguageModel, trained: TrainedModel) -> LanguageModel:
    """Return the model with the head that was trained on it.

    Raises:
        CheckpointError: the head is missing or damaged, or doesn't fit the model.
    """
    source = SafetensorsSource(str(trained.path / HEAD_FILE), [trained.path / HEAD_FILE])
    tensors = {name: source.read(name) for name in source.names()}
    kind = HEADS.get(trained.definition.head)
    if not (isinstance(kind, type) and issubclass(kind, LinearHead)):
        raise CheckpointError(
            f"{trained.path} says that it holds the head {trained.definition.head!r}, which is none to be trained: "
            "restore the folder from a copy, or train again."
        )
    settings = trained.settings.get("head", trained.settings)  # beside what else was trained, or alone
    head = kind.restored(tensors, settings, model.backbone.config.channels, source.place)
    if max(head.features.layers) > model.backbone.config.layers:
        raise CheckpointError(
            f"{trained.path} reads the layer {max(head.features.layers)}, and the model {model.name!r} has "
            f"{model.backbone.config.layers}: name the model that it was trained on with base."
        )
    return replace(model, task_head=head.eval())
