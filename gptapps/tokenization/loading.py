"""A model's tokenizer from wherever its weights lie, a GGUF file's kept in a cache once it was made."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

from gptapps.errors import GPTAppsError
from gptapps.tokenization.tokenizer import Tokenizer

logger = logging.getLogger("gptapps")


def load_tokenizer(path: Path, *, cache: Path | None = None) -> Tokenizer:
    """Return the tokenizer of a model directory or a GGUF file.

    Args:
        path: the directory or file.
        cache: folder for what is made from a GGUF file, which takes seconds where the vocabulary is large; None
            makes it anew each time.

    Raises:
        ModelError: the files are missing or broken, or of a kind gptapps doesn't know.
    """
    if path.is_dir():
        return Tokenizer.from_directory(path)
    if cache is not None and (cache / "tokenizer.json").is_file():
        try:
            return Tokenizer.from_directory(cache)
        except GPTAppsError as error:
            logger.warning("The cached tokenizer is broken and is made again: %s", error)
            shutil.rmtree(cache, ignore_errors=True)
    import gguf  # late: directories don't need it

    tokenizer = Tokenizer.from_gguf(gguf.GGUFReader(path))
    if cache is not None:
        _keep(tokenizer, cache)
    return tokenizer


def _keep(tokenizer: Tokenizer, cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=cache.name, dir=cache.parent))
    tokenizer.save(aside)
    try:
        os.replace(aside, cache)
    except OSError:  # another process was faster
        shutil.rmtree(aside, ignore_errors=True)
