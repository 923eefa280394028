"""A checksum by which a model is known again."""

from __future__ import annotations

import hashlib

from gptapps.decoding.language_model import LanguageModel

_SAMPLED_VALUES = 2**16


def model_identity(model: LanguageModel) -> dict[str, str]:
    """Return a checksum of the model.

    A packaged model has that of its file, and what was trained on another model that of its folder. Any other has one
    of its configuration and of up to 65,536 evenly spread values of each tensor, wherever it was read from.
    """
    if model.packaged is not None:
        return {"sha256": model.packaged.sha256, "of": "file"}
    if model.trained is not None and model.trained.base is not None:
        return {"sha256": model.trained.sha256, "of": "training"}
    whole = hashlib.sha256(repr(model.backbone.config).encode())
    parameters = [*model.backbone.state_dict().items(), *model.head.state_dict().items()]
    for name, tensor in parameters:
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _SAMPLED_VALUES)]
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        whole.update(some.cpu().double().numpy().tobytes())
    return {"sha256": whole.hexdigest(), "of": "weights"}
