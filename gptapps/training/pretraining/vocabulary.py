"""The tokenizer of a model that is pre-trained: a known one, or byte-level BPE trained on the text itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from gptapps.cache_files import new_folder
from gptapps.model_store import PACKAGED_MODELS, derived_directory, resolve
from gptapps.tokenization.loading import load_tokenizer
from gptapps.tokenization.parts import TokenizerParts
from gptapps.tokenization.tokenizer import Tokenizer

END_OF_TEXT = "<|endoftext|>"

_PIECE = 1 << 20  # characters; what encodes or counts a text keeps many times its size


def trained_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """Return a byte-level BPE tokenizer trained on texts, with one special token that ends them.

    Args:
        texts: to count pairs in.
        vocabulary_size: 257 or more; a short text gives fewer tokens.

    Source: Radford et al. 2019 (GPT-2), section 2.2.
    """
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator((piece for text in texts for piece in pieces(text)), trainer)
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
    return Tokenizer(TokenizerParts(backend, special, (), None, "the text"))


def known_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer of a packaged model, of a folder that may hold nothing else, of a GGUF file or a hub id.

    Raises:
        ModelError: it can't be found, fetched or read.
    """
    if name not in PACKAGED_MODELS and Path(name).expanduser().is_dir():
        return Tokenizer.from_directory(Path(name).expanduser())
    local = resolve(name)
    return load_tokenizer(local.path, derived=derived_directory(local) if local.packaged else None)


def kept_tokenizer(folder: Path, make: Callable[[], Tokenizer]) -> Tokenizer:
    """Return the tokenizer that a folder keeps, made and put there where it isn't yet.

    A chat template is left out: a model that has read plain text doesn't chat.
    """
    if not folder.is_dir():
        with new_folder(folder) as aside:
            make().save(aside)
            (aside / "chat_template.jinja").unlink(missing_ok=True)
    return Tokenizer.from_directory(folder)


def pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of about a million characters, cut at line ends where it has any."""
    start = 0
    while len(text) - start > _PIECE:
        line = text.rfind("\n", start, start + _PIECE) + 1
        end = line if line > start else start + _PIECE
        yield text[start:end]
        start = end
    yield text[start:]
