"""From files, standard input and options to rows."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptapps.datasets import Format, Row, format_of, parse_rows, read_rows
from gptapps.errors import DataError, OptionError

_STANDARD_INPUT = Path("-")
_SHOWN_CHARACTERS = 60  # of a path that leads nowhere: it may be a whole text


@dataclass(frozen=True, slots=True)
class RowReader:
    """Where the inputs come from: files in turn, or texts given as options.

    Attributes:
        files: paths; ``-`` is standard input, which is also read where nothing is given and it is no terminal.
        texts: inputs themselves.
        format: how files are read; None goes by suffix, and standard input is one text.
        whole: the options make an input by themselves, and where nothing else is given, that is the one.
    """

    files: tuple[Path, ...]
    texts: tuple[str, ...]
    format: Format | None
    whole: bool = False

    @property
    def several(self) -> bool:
        """Whether more than one input may come, so that each result has to stay on a line of its own."""
        formats = [self.format or format_of(path) for path in self.files] or [self.format or "text"]
        return any(format != "text" for format in formats) or len(self.files) + len(self.texts) > 1

    def require_input(self, command: str) -> None:
        """Refuse what can't be read before a model is loaded.

        Args:
            command: whose help says more.

        Raises:
            OptionError: nothing to read, or standard input named twice.
            DataError: no such file, or an empty text.
        """
        for number, text in enumerate(self.texts, 1):
            if not text.strip():
                raise DataError(f"--text {number} is empty: give it some text.")
        if self.whole and not self.files and not self.texts:
            return
        if not self.files and not self.texts and (sys.stdin is None or sys.stdin.isatty()):
            raise OptionError(
                f"There is nothing to read: give files, - for standard input, or --text; see {command} -h."
            )
        if self.files.count(_STANDARD_INPUT) > 1:
            raise OptionError("Standard input can be read only once: name - once.")
        for path in self.files:
            if path != _STANDARD_INPUT and not os.path.exists(path):
                shown = str(path) if len(str(path)) <= _SHOWN_CHARACTERS else f"{str(path)[:_SHOWN_CHARACTERS]}…"
                raise DataError(f"There is no file {shown!r}: check the path, or give a text itself with --text.")
            if os.path.isdir(path):
                raise DataError(f"{path} is a folder: name the files in it.")

    def rows(self) -> Iterator[Row]:
        """Yield the inputs in order.

        Raises:
            DataError: a file that can't be read, or a text that is no UTF-8.
        """
        for number, text in enumerate(self.texts, 1):
            if any("\ud800" <= char <= "\udfff" for char in text):  # what Python makes of bytes that are none
                raise DataError(f"--text {number} is no UTF-8 text: convert it, or give it in a file.")
            yield Row({"text": text}, f"--text {number}")
        if self.whole and not self.files and not self.texts:
            yield Row({}, "the options")
            return
        for path in self.files or (() if self.texts else (_STANDARD_INPUT,)):
            if path == _STANDARD_INPUT:
                stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
                try:
                    yield from parse_rows(stream, "standard input", self.format or "text")
                finally:
                    stream.detach()  # else standard input is closed with it
            else:
                yield from read_rows(path, self.format)
