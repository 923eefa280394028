"""A model ready to read and write: backbone, vocabulary head and tokenizer under one name.

Symbols: B batch, T tokens, C channels, N positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.kv_cache import CacheRows, KVCache
from gptapps.backbone.mask_embedding import is_masked_model
from gptapps.backbone.peft_files import is_adapter
from gptapps.errors import CapabilityError, OptionError, ResourceError
from gptapps.heads.loading import load_language_model
from gptapps.model_store import PACKAGED_MODELS, PackagedModel, Progress, derived_directory, resolve
from gptapps.tokenization.batch import TokenBatch
from gptapps.tokenization.loading import load_tokenizer
from gptapps.tokenization.tokenizer import Tokenizer
from gptapps.trained_model import TrainedModel, is_trained_model

_PREFILL_TOKENS = 2048  # longer texts are read in pieces, which bounds the memory of masks and activations
_LOGIT_ROWS = 256  # positions whose logits are held at once


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """What decoding needs of a model; immutable, so any number of threads may share it.

    Attributes:
        name: as the caller gave it.
        backbone, head, tokenizer: the three parts.
        packaged: the catalogue's entry, where the model is one of the packaged ones.
        trained: what its folder says, where training left it.
        task_head: what predicts in place of the vocabulary head, where a head was trained.
        opening: ids that stand in front of every prompt, where they were trained.
    """

    name: str
    backbone: GPTBackbone
    head: nn.Module
    tokenizer: Tokenizer
    packaged: PackagedModel | None = None
    trained: TrainedModel | None = None
    task_head: nn.Module | None = None
    opening: tuple[int, ...] = ()

    def __deepcopy__(self, memo: object) -> LanguageModel:
        """Return the model itself, which never changes: scikit-learn copies an estimator's parameters at each fold."""
        return self

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        offline: bool = False,
        progress: Progress | None = None,
        base: str | None = None,
        low_memory: bool = False,
    ) -> LanguageModel:
        """Load a packaged model, a directory, a GGUF file, a hub id, what training left, or an adapter of peft's.

        Args:
            name: which.
            device: such as ``"cpu"`` or ``"cuda:0"``; None takes the GPU where there is one.
            dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; None takes bfloat16 on a GPU, else float32.
            revision: branch, tag or commit of a hub id.
            offline: fetch nothing.
            progress: told about downloads.
            base: for what training left, the model it was trained on, where that lies elsewhere now.
            low_memory: keep matrices in the 8 or 16 bits that the files have them in, and widen each when it's used:
                the same numbers from a third of the memory. Reading long or many texts takes a little longer,
                writing about twice as long.

        Raises:
            ModelError: it can't be found, fetched or read.
            OptionError: no such type or device, or a model that ``low_memory`` doesn't go with.
            ResourceError: the device isn't there, or the disk is full.
        """
        where = chosen_device(device)
        load = partial(
            cls._load,
            dtype=_dtype(dtype, where),
            device=where,
            revision=revision,
            offline=offline,
            progress=progress,
            low_memory=low_memory,
        )
        if name not in PACKAGED_MODELS and is_trained_model(name):
            from gptapps.decoding.trained_loading import load_trained  # it needs this class

            return load_trained(name, base, load)
        if name not in PACKAGED_MODELS and is_adapter(name):
            from gptapps.decoding.trained_adapters import load_adapter  # it needs this class

            return load_adapter(name, base, load)
        if base is not None:
            raise OptionError(f"The model {name!r} was trained on no other: leave base out.")
        return load(name)

    @classmethod
    def _load(
        cls,
        name: str,
        *,
        dtype: torch.dtype,
        device: torch.device,
        revision: str | None,
        offline: bool,
        progress: Progress | None,
        low_memory: bool,
    ) -> LanguageModel:
        local = resolve(name, revision=revision, offline=offline, progress=progress)
        if is_masked_model(local.path):
            raise CapabilityError(
                f"{name!r} was pre-trained on masked text and sees both directions, so it can't do what a pipeline "
                "asks for: pre-train with the objective next-token, or fill masks with "
                "gptapps.decoding.masked_model.MaskedModel."
            )
        derived = derived_directory(local) if local.packaged else None
        backbone, head = load_language_model(
            local.path,
            dtype=dtype,
            device=device,
            derived=derived and derived / "weights",
            low_memory=low_memory,
        )
        tokenizer = load_tokenizer(local.path, derived=derived)
        return cls(name, backbone.eval(), head.eval(), tokenizer, local.packaged)

    @property
    def context_length(self) -> int:
        """The most tokens a text and its continuation may have together."""
        return self.backbone.config.context_length

    @property
    def start_id(self) -> int:
        """The token that stands before a text that has nothing before it."""
        return self.tokenizer.start_id

    def encode(self, text: str, *, special_tokens: bool) -> list[int]:
        """Return the ids of a prompt: what stands in front of every prompt, and the text's own."""
        return [*self.opening, *self.tokenizer.encode(text, special_tokens=special_tokens)]

    def new_cache(self, max_bytes: int | None = None) -> KVCache:
        """Return an empty cache that fits the backbone."""
        return KVCache(
            self.backbone.config, dtype=self.backbone.dtype, device=self.backbone.device, max_bytes=max_bytes
        )

    def read(self, texts: Sequence[Sequence[int]], rows: CacheRows | None = None) -> Tensor:
        """Read token lists of any lengths, in pieces where they are long.

        Args:
            texts: a list of ids for each row.
            rows: cache rows to extend; None reads without a cache, in one piece.

        Returns:
            (B, T, C) hidden states, T the longest list; meaningless behind the end of a shorter one.
        """
        batch = TokenBatch.from_lists(texts, device=self.backbone.device)
        lengths = [len(text) for text in texts]
        total = batch.ids.shape[1]
        if rows is None or total <= _PREFILL_TOKENS:
            hidden: Tensor = self.backbone(batch.ids, cache=rows, lengths=lengths)
            return hidden
        pieces = []
        for start in range(0, total, _PREFILL_TOKENS):
            ids = batch.ids[:, start : start + _PREFILL_TOKENS]
            real = [min(max(length - start, 0), ids.shape[1]) for length in lengths]
            pieces.append(self.backbone(ids, cache=rows, lengths=real))
        return torch.cat(pieces, 1)

    def next_token_logits(self, texts: Sequence[Sequence[int]], rows: CacheRows) -> Tensor:
        """Read token lists into ``rows`` and return the float32 logits (B, V) behind each last token."""
        hidden = self.read(texts, rows)
        last = torch.tensor([len(text) - 1 for text in texts], device=hidden.device)
        return self.logits(hidden[torch.arange(len(texts), device=hidden.device), last])

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the float32 logits (N, V) for hidden states (N, C)."""
        out: Tensor = self.head(hidden)
        return out.float()

    def log_probabilities(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the log-probability (N,) of ``targets`` (N,) as the tokens behind ``hidden`` (N, C)."""
        pieces = [_log_probabilities(logits, ids) for logits, ids in self._logit_pieces(hidden, targets)]
        return torch.cat(pieces) if pieces else hidden.new_zeros(0, dtype=torch.float32)

    def judged(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability (N,) of each target, and whether it is the likeliest token (N,).

        Args:
            hidden: (N, C) with N at least 1.
            targets: (N,) the tokens behind them; of equally likely ones the lowest id is the likeliest.
        """
        pieces = [
            (_log_probabilities(logits, ids), logits.argmax(1) == ids)
            for logits, ids in self._logit_pieces(hidden, targets)
        ]
        scores, likeliest = zip(*pieces, strict=True)
        return torch.cat(scores), torch.cat(likeliest)

    def _logit_pieces(self, hidden: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for states, ids in zip(torch.split(hidden, _LOGIT_ROWS), torch.split(targets, _LOGIT_ROWS), strict=True):
            yield self.logits(states), ids


def _log_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets.unsqueeze(1)).squeeze(1) - logits.logsumexp(1)


def chosen_device(name: str | None) -> torch.device:
    """Return the device of that name; None takes the GPU where there is one.

    Raises:
        OptionError: no such device.
        ResourceError: it isn't there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionError(f"There is no device {name!r}: use 'cpu', 'cuda' or 'cuda:N'.") from None
    if device.type not in ("cpu", "cuda"):
        raise OptionError(f"The device {name!r} can't run a model: use 'cpu', 'cuda' or 'cuda:N'.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ResourceError(f"The device {name!r} was asked for, but PyTorch sees no GPU: use device='cpu'.")
    return device


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in types:
        raise OptionError(f"There is no dtype {name!r}: use one of {', '.join(types)}.")
    return types[name]
