"""A model that was pre-trained on masked text: it says what is hidden in a text, from what stands on both sides.

Symbols: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.mask_embedding import install_mask, is_masked_model, read_mask
from gptapps.decoding.language_model import chosen_device
from gptapps.errors import DataError, ModelNotFoundError
from gptapps.heads.language_model import LanguageModelHead
from gptapps.heads.loading import load_language_model
from gptapps.tokenization.tokenizer import Tokenizer

MASK = "<mask>"
"""Stands in a text for one hidden token; a token mostly has the space in front of it."""


@dataclass(frozen=True, slots=True)
class MaskedModel:
    """What is needed to fill masks.

    Attributes:
        backbone: with the mask's embedding behind the vocabulary.
        head, tokenizer: the other parts.

    Example:
        >>> MaskedModel.load("my-masked-gpt").fill("The cat<mask> on the mat.")     # doctest: +SKIP
        'The cat sat on the mat.'
    """

    backbone: GPTBackbone
    head: LanguageModelHead
    tokenizer: Tokenizer

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu") -> MaskedModel:
        """Load the folder of a model that :func:`gptapps.pretrain` left with ``objective="masked"``.

        Args:
            path: of the folder.
            device: such as ``"cpu"`` or ``"cuda:0"``.

        Raises:
            ModelNotFoundError: there is none.
            CheckpointError: it is damaged.
            OptionError: no such device.
            ResourceError: the device isn't there.
        """
        folder = Path(path).expanduser()
        if not is_masked_model(folder):
            raise ModelNotFoundError(f"{path} holds no model that was pre-trained on masked text: name another folder.")
        there = chosen_device(device)
        backbone, head = load_language_model(folder, device=there)
        install_mask(backbone, read_mask(folder, backbone.config.channels).to(there))
        return cls(backbone.eval(), head, Tokenizer.from_directory(folder))

    @property
    def mask_id(self) -> int:
        """The id of a hidden token: V."""
        return self.backbone.config.vocabulary_size

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """Return (T, V) for a text, each token seen from all others.

        Raises:
            InputTooLongError: more tokens than the context has.
        """
        tokens = torch.tensor(list(ids), device=self.backbone.device)
        logits: Tensor = self.head(self.backbone.read_packed(tokens, [len(tokens)], causal=False))
        return logits

    def fill(self, text: str) -> str:
        """Return a text with the likeliest token in place of each ``<mask>``.

        Raises:
            DataError: no mask, or more tokens than the context has.
        """
        parts = text.split(MASK)
        if len(parts) == 1:
            raise DataError(f"There is no {MASK} in the text: write one where a token is hidden.")
        ids = [self.tokenizer.start_id, *self.tokenizer.encode(parts[0], special_tokens=False)]
        for part in parts[1:]:
            ids += [self.mask_id, *self.tokenizer.encode(part, special_tokens=False)]
        likeliest = self.logits(ids).argmax(1).tolist()
        return self.tokenizer.decode(
            [said if token == self.mask_id else token for token, said in zip(ids, likeliest, strict=True)][1:]
        )
