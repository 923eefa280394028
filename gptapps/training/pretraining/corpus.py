"""The texts that are learned from, and those that say how well."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptapps.datasets import HUB_PREFIX, Row, format_of, read_hub, read_rows, with_columns
from gptapps.errors import DataError, OptionError
from gptapps.training.folds import split_off

_TEXT = "text"
_LEAST = 2  # characters of a text that can be cut in two


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts to learn from and to try it on.

    Attributes:
        train, validation: the texts; none of them is empty.
        skipped: rows that hold no text.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    skipped: int

    @property
    def checksums(self) -> dict[str, str]:
        """The SHA-256 of either part."""
        return {"train": _checksum(self.train), "validation": _checksum(self.validation)}


def read_corpus(
    data: Sequence[str | Path],
    validation: str | Path | float,
    *,
    column: str = _TEXT,
    limit: int | None = None,
    seed: int = 0,
) -> Corpus:
    """Read plain text files, each of them one text, or tables with a text in each row.

    Args:
        data: files, or names of hub data sets.
        validation: another one; or the share of ``data`` that is set aside: of the texts, those that are alike on one
            side, or of the longest one's end where that is less than one text.
        column: of a table, that holds the text.
        limit: the most rows of ``data``, validation's share among them.
        seed: of the draw of texts.

    Raises:
        DataError: a file that can't be read, or without any text; validation that is all learned from.
        OptionError: a share that isn't above 0 and below 1, or a text that is too short to be cut in two.
    """
    if not data:
        raise OptionError("There is no text to learn from: name a file.")
    if isinstance(validation, bool) or (isinstance(validation, int | float) and not 0 < validation < 1):
        raise OptionError(f"validation is {validation}, but a share has to be above 0 and below 1: or name a file.")
    texts, skipped = _read(data, column, limit)
    if not isinstance(validation, int | float):
        held, more = _read([validation], column, None)
        if {*held} <= {*texts}:
            raise DataError(
                f"All of {validation} is in the text to learn from, so it can't say how good the model is: name other "
                "text as validation, or a share to set aside."
            )
        return Corpus(tuple(texts), tuple(held), skipped + more)
    if validation * len(texts) >= 1 and len(set(texts)) > 1:
        fold = split_off([None] * len(texts), validation, seed, groups=texts)
        train, held = ([texts[place] for place in part] for part in (fold.train, fold.validation))
    else:
        longest = max(texts, key=len)
        before, behind = _cut(longest, validation)
        train, held = [before if text == longest else text for text in texts], [behind]  # each time that it comes
    return Corpus(tuple(train), tuple(held), skipped)


def _read(sources: Sequence[str | Path], column: str, limit: int | None) -> tuple[list[str], int]:
    texts: list[str] = []
    without: list[Row] = []
    for name, row in _rows(sources):
        if limit is not None and len(texts) >= limit:
            break
        own = _TEXT if name is None else column
        if own not in row.fields:
            without.append(row)
            continue
        text = row.fields[own]
        if not isinstance(text, str):
            raise DataError(f"{row.where} has no text in the column {own!r} but {text!r:.40}: name another column.")
        if text.strip():
            texts.append(text)
        else:
            without.append(row)
    if not texts:
        for row in without[:1]:
            with_columns(row, {_TEXT: column})  # says what the row has instead
        raise DataError(f"There is no text in {', '.join(map(str, sources))}: name another file, or another column.")
    return texts, len(without)


def _rows(sources: Sequence[str | Path]) -> Iterator[tuple[str | None, Row]]:
    """Yield each row with its table's name, None for a plain text."""
    for source in sources:
        name = str(source)
        if name.startswith(HUB_PREFIX):
            yield from ((name, row) for row in read_hub(name))
        else:
            path = Path(source).expanduser()
            plain = format_of(path) == "text"
            yield from ((None if plain else name, row) for row in read_rows(path))


def _cut(text: str, share: float) -> tuple[str, str]:
    if len(text) < _LEAST:
        raise OptionError("The text is too short to set a share of it aside: name a file as validation.")
    place = min(max(round(len(text) * (1 - share)), 1), len(text) - 1)
    line = text.rfind("\n", 0, place) + 1
    place = line if line > place // 2 else place  # a text without line ends is cut anywhere
    return text[:place], text[place:]


def _checksum(texts: Sequence[str]) -> str:
    said = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        said.update(f"{len(encoded)} ".encode() + encoded)
    return said.hexdigest()
