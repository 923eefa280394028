"""From files, standard input and options to a task's examples."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptapps.datasets import Format, Row, chosen_fields, parse_rows, read_rows
from gptapps.errors import DataError, OptionError

_STANDARD_INPUT = Path("-")


@dataclass(frozen=True, slots=True)
class RowReader:
    """Where the inputs come from: files in turn, or texts given as options.

    Attributes:
        files: paths; ``-`` is standard input, which is also read where nothing is given and it is no terminal.
        texts: inputs themselves.
        format: how files are read; None goes by suffix, and standard input is one text.
    """

    files: tuple[Path, ...]
    texts: tuple[str, ...]
    format: Format | None

    @property
    def several(self) -> bool:
        """Whether more than one input may come, so that each result has to stay on a line of its own."""
        one_text = self.format in (None, "text") and all(
            path.suffix not in (".jsonl", ".ndjson", ".csv", ".tsv") for path in self.files
        )
        return not one_text or len(self.files) + len(self.texts) > 1

    def require_input(self, command: str) -> None:
        """Raise :class:`OptionError` where there is nothing to read, before a model is loaded."""
        if not self.files and not self.texts and sys.stdin.isatty():
            raise OptionError(
                f"There is nothing to read: give files, - for standard input, or --text; see {command} -h."
            )
        for path in self.files:
            if path != _STANDARD_INPUT and not path.is_file():
                raise DataError(f"There is no file {path}." if not path.exists() else f"{path} is no file.")

    def rows(self) -> Iterator[Row]:
        """Yield the inputs in order."""
        for number, text in enumerate(self.texts, 1):
            yield Row({"text": text}, f"--text {number}")
        for path in self.files or (() if self.texts else (_STANDARD_INPUT,)):
            if path == _STANDARD_INPUT:
                stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
                yield from parse_rows(stream, "standard input", self.format or "text")
            else:
                yield from read_rows(path, self.format)


def examples_of(rows: Iterator[Row], task: Any, fields: Mapping[str, str]) -> Iterator[Any]:
    """Yield a task's example for each row; an error names the row.

    Args:
        rows: inputs; the field ``text`` of a plain text becomes the one field of the example that is missing.
        task: the pipeline.
        fields: fields given as options, the same for every row.

    Raises:
        DataError: a row that is no example of the task.
    """
    known = task.example_type.model_fields
    required = tuple(name for name, field in known.items() if field.is_required())
    for row in rows:
        missing = [name for name in required if name not in row.fields and name not in fields]
        if "text" in row.fields and "text" not in known and len(missing) == 1:
            row = Row({**row.fields, missing[0]: row.fields["text"]}, row.where)
        row = Row({**row.fields, **fields}, row.where)
        try:
            yield task.as_example(chosen_fields(row, tuple(known), required))
        except DataError as error:
            sentence = str(error)
            raise DataError(sentence if sentence.startswith(row.where) else f"{row.where}: {sentence}") from None
