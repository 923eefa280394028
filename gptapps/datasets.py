"""Files of inputs, row by row: plain text, lines, JSON lines, CSV and TSV.

Every row knows its file and line, so that an error can name them. Rows are read lazily.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from gptapps.errors import DataError
from gptapps.registry import suggestion

Format = Literal["text", "lines", "jsonl", "csv", "tsv"]

_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}


@dataclass(frozen=True, slots=True)
class Row:
    """One input.

    Attributes:
        fields: name -> value; plain text has the one field ``text``.
        where: ``"file:line"``, or the file's name alone where it is one input.
    """

    fields: Mapping[str, object]
    where: str


def read_rows(path: Path, format: Format | None = None) -> Iterator[Row]:
    """Yield the rows of a file.

    Args:
        path: which.
        format: how to read it; None follows the suffix: .jsonl, .csv, .tsv, anything else is one text.

    Raises:
        DataError: it can't be opened, is no UTF-8, or a row is malformed; the message names file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from parse_rows(file, str(path), format or format_of(path))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"The file {path} can't be read ({reason}): give the path of a text file.") from None


def format_of(path: Path) -> Format:
    """Return how a file is read as far as its suffix says."""
    return _SUFFIXES.get(path.suffix.lower(), "text")


def parse_rows(file: IO[str], name: str, format: Format) -> Iterator[Row]:
    """Yield the rows of an open file; ``name`` is what messages call it.

    Raises:
        DataError: it is empty or no UTF-8, or a row is malformed.
    """
    parsers = {"text": _text, "lines": _lines, "jsonl": _json_lines, "csv": _commas, "tsv": _tabs}
    empty = True
    try:
        for row in parsers[format](file, name):
            empty = False
            yield row
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is no UTF-8 text (byte {error.object[error.start]:#04x}): convert it, for example with "
            "`iconv -f GB18030 -t UTF-8`."
        ) from None
    if empty:
        raise DataError(f"There is no input in {name}: give it some text.")


def _text(file: IO[str], name: str) -> Iterator[Row]:
    if text := file.read().strip():
        yield Row({"text": text}, name)


def _lines(file: IO[str], name: str) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield Row({"text": line.strip()}, f"{name}:{number}")


def _json_lines(file: IO[str], name: str) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{name}:{number} is no JSON ({error.msg} at column {error.colno}): mend the line."
            ) from None
        except (ValueError, RecursionError):  # what Python's reader refuses, though JSON allows it
            raise DataError(f"{name}:{number} nests too deep or holds too long a number: simplify the line.") from None
        if r"\ud" in line.lower() and not _is_text(fields):
            raise DataError(f"{name}:{number} escapes half a character (\\ud800 to \\udfff): mend the line.")
        if not isinstance(fields, dict):
            raise DataError(f'{name}:{number} is no JSON object: write a line such as {{"text": "…"}}.')
        yield Row(fields, f"{name}:{number}")


def _is_text(fields: object) -> bool:
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _commas(file: IO[str], name: str) -> Iterator[Row]:
    yield from _table(file, name, ",")


def _tabs(file: IO[str], name: str) -> Iterator[Row]:
    yield from _table(file, name, "\t")


def _table(file: IO[str], name: str, delimiter: str) -> Iterator[Row]:
    if delimiter == ",":
        reader = csv.DictReader(file, strict=True)
    else:  # tab-separated files quote nothing
        reader = csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    try:
        columns = reader.fieldnames or ()
        for column in columns:
            if columns.count(column) > 1:
                raise DataError(f"{name}:1 names the column {column!r} more than once: give each its own name.")
        for fields in reader:
            where = f"{name}:{reader.line_num}"
            if None in fields:
                raise DataError(f"{where} has more columns than the first line names: quote or remove the surplus.")
            if None in fields.values():
                missing = next(column for column, value in fields.items() if value is None)
                raise DataError(f"{where} has no column {missing!r}: give every row {len(fields)} columns.")
            yield Row({column: value for column, value in fields.items() if value != ""}, where)
    except csv.Error as error:
        where = f"{name}:{reader.reader.line_num}"
        if "field larger" in str(error):
            raise DataError(
                f"{where} has a field of more than {csv.field_size_limit():,} characters: put such texts into files "
                "of their own, or write JSON lines."
            ) from None
        raise DataError(f"{where} is no well-formed table row ({error}): mend it.") from None


def chosen_fields(row: Row, wanted: tuple[str, ...], required: tuple[str, ...]) -> dict[str, object]:
    """Return those fields of a row that an example has; others, such as ids, are left out.

    Raises:
        DataError: a required field is missing; the message suggests the column that was probably meant.
    """
    for name in required:
        if name not in row.fields:
            raise DataError(
                f"{row.where} has no {name!r}.{suggestion(name, row.fields)} "
                f"It has: {', '.join(row.fields) or 'nothing'}."
            )
    return {name: row.fields[name] for name in wanted if name in row.fields}
