"""A model's tokenizer from wherever its weights lie, a GGUF file's kept in a cache once it was made."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

from gptapps.errors import GPTAppsError
from gptapps.tokenization.tokenizer import Tokenizer

CACHE_VERSION = 1  # raise it when the reading of GGUF files changes

logger = logging.getLogger("gptapps")


def load_tokenizer(path: Path, *, derived: Path | None = None) -> Tokenizer:
    """Return the tokenizer of a model directory or a GGUF file.

    Args:
        path: the directory or file.
        derived: folder for what is made from a GGUF file, which takes seconds where the vocabulary is large; None
            makes it anew each time.

    Raises:
        ModelError: the files are missing or broken, or of a kind gptapps doesn't know.
    """
    if path.is_dir():
        return Tokenizer.from_directory(path)
    if derived is None:
        return Tokenizer.from_gguf(path)
    kept = derived / f"tokenizer-{CACHE_VERSION}"
    if (kept / "tokenizer.json").is_file():
        try:
            return Tokenizer.from_directory(kept)
        except GPTAppsError as error:
            logger.warning("The kept tokenizer is broken and is made again: %s", error)
            shutil.rmtree(kept, ignore_errors=True)
    tokenizer = Tokenizer.from_gguf(path)
    _keep(tokenizer, kept)
    return tokenizer


def _keep(tokenizer: Tokenizer, kept: Path) -> None:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{kept.name}-", dir=kept.parent))
    except OSError as error:
        logger.warning("The tokenizer can't be kept in %s and is made anew each time: %s", kept.parent, error)
        return
    try:
        tokenizer.save(aside)
        os.replace(aside, kept)
    except (OSError, GPTAppsError) as error:
        if not kept.is_dir():  # else another process was faster
            logger.warning("The tokenizer can't be kept in %s and is made anew each time: %s", kept, error)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
