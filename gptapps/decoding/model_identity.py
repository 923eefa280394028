"""A checksum by which a model is known again."""

from __future__ import annotations

import hashlib

from gptapps.backbone.compact import sampled_weights
from gptapps.decoding.language_model import LanguageModel

_SAMPLED_VALUES = 2**16


def model_identity(model: LanguageModel) -> dict[str, str]:
    """Return a checksum of the model.

    A packaged model has that of its file, and what was trained on another model that of its folder. Any other has one
    of its configuration and of up to 65,536 evenly spread values of each tensor, wherever it was read from; a head that
    was trained with it counts.
    """
    if model.packaged is not None:
        return {"sha256": model.packaged.sha256, "of": "file"}
    if model.trained is not None and model.trained.base is not None:
        return {"sha256": model.trained.sha256, "of": "training"}
    whole = hashlib.sha256(repr(model.backbone.config).encode())
    for part in filter(None, (model.backbone, model.head, model.task_head)):
        for name, shape, dtype, numbers in sampled_weights(part, _SAMPLED_VALUES):
            whole.update(f"{name} {tuple(shape)} {dtype}".encode())
            whole.update(numbers.cpu().double().numpy().tobytes())
    return {"sha256": whole.hexdigest(), "of": "weights"}
