"""Features of texts, computed once for every fold, hyperparameter and epoch, and kept after a kill."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptapps.decoding.features import length_batches, read_features
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.model_identity import model_identity
from gptapps.heads.features import Features
from gptapps.training.methods import Progress
from gptapps.training.row_store import KEY_BYTES, FloatArray, RowStore


class FeatureStore:
    """Features of the texts that one model has read, in a folder of their own.

    Args:
        folder: made where it isn't there; features of another model or of other layers in it are thrown away.
        model: which reads the texts.
        features: what of its hidden states is kept.
        progress: told how many texts are read.

    Example:
        >>> store = FeatureStore(Path("work"), model, Features((15, 20), ("last",)))       # doctest: +SKIP
        >>> store.rows([(1, 2, 3)], Features((20,), ("last",))).shape                      # doctest: +SKIP
        (1, 576)
    """

    def __init__(
        self, folder: Path, model: LanguageModel, features: Features, progress: Progress | None = None
    ) -> None:
        self._model, self._features, self._progress = model, features, progress
        self._channels = model.backbone.config.channels
        kept = {"layers": list(features.layers), "poolings": list(features.poolings)}
        self._store = RowStore(folder, {**reader_identity(model), **kept}, features.size(self._channels))

    def read(self, texts: Sequence[Sequence[int]]) -> None:
        """Read the texts that weren't read before; each batch is on the disk when the next one begins.

        Raises:
            InputTooLongError: a text is longer than the model's context.
        """
        waiting = [(key, text) for key, text in {text_key(text): text for text in texts}.items() if key not in self]
        done = 0
        for batch in length_batches([len(text) for _, text in waiting]):
            found: Tensor = read_features(self._model, [waiting[number][1] for number in batch], self._features)
            self._store.add([waiting[number][0] for number in batch], found.numpy())
            done += len(batch)
            if self._progress is not None:
                self._progress("reading", done, len(waiting))

    def rows(self, texts: Sequence[Sequence[int]], features: Features) -> FloatArray:
        """Return some of the features (N, F) of texts, reading those that weren't read before.

        Args:
            texts: token ids of each.
            features: layers and poolings among those that are kept.
        """
        self.read(texts)
        places = self._store.places([text_key(text) for text in texts])
        shape = (-1, len(self._features.layers), len(self._features.poolings), self._channels)
        mapped = self._store.mapped().reshape(shape)
        layers = [self._features.layers.index(layer) for layer in features.layers]
        poolings = [self._features.poolings.index(pooling) for pooling in features.poolings]
        return np.concatenate([mapped[places, layer, pooling] for layer in layers for pooling in poolings], 1)

    def tensor(self, texts: Sequence[Sequence[int]], features: Features) -> Tensor:
        """Return :meth:`rows` as a tensor, as whoever predicts asks for them."""
        return torch.from_numpy(self.rows(texts, features))

    def __contains__(self, key: bytes) -> bool:
        return key in self._store


def reader_identity(model: LanguageModel) -> dict[str, Any]:
    """Return which model reads, for JSON: another one's features are others."""
    return {
        "model": model_identity(model),
        "dtype": str(model.backbone.dtype),
        "device": model.backbone.device.type,
        "channels": model.backbone.config.channels,
    }


def text_key(text: Sequence[int], position: int | None = None) -> bytes:
    """Return the key of a text, or of a place in it."""
    numbers = array("q", text if position is None else [*text, -1, position])
    return hashlib.blake2b(numbers.tobytes(), digest_size=KEY_BYTES).digest()
