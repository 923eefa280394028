"""Files of inputs, row by row: plain text, lines, JSON lines, CSV, TSV and Parquet; and data sets of the hub.

Every row knows its file and line, so that an error can name them. Rows are read lazily.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Literal

from gptapps.errors import DataError
from gptapps.registry import suggestion

Format = Literal["text", "lines", "jsonl", "csv", "tsv", "parquet"]

HUB_PREFIX = "hub:"

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_MEDIA = ("Image", "Audio", "Video", "Pdf", "Nifti")  # classes of the package datasets, which decodes what they hold
_HUB_ID = re.compile(r"hub:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:#(?P<config>[^:#]+))?:(?P<split>[^:#]+)")


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
        format: how to read it; None follows the suffix: .jsonl, .csv, .tsv, .parquet, anything else is one text.

    Raises:
        DataError: it can't be opened, is no UTF-8, or a row is malformed; the message names file and line. Parquet
            needs the package pyarrow.
    """
    if (format or format_of(path)) == "parquet":
        yield from _parquet(path)
        return
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
    if format == "parquet":
        raise DataError(f"{name} can't be read as Parquet: that format needs a file of its own.")
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


def read_hub(name: str) -> Iterator[Row]:
    """Yield the rows of a hub data set; labels kept as numbers there come as their names, and pictures not at all.

    A set that is published with a script is read from the Parquet files that the hub makes of it.

    Args:
        name: ``"hub:org/name:split"`` or ``"hub:org/name#config:split"``.

    Raises:
        DataError: the name isn't of that form, the package ``datasets`` is missing, or the set can't be fetched.
    """
    parts = _HUB_ID.fullmatch(name)
    if parts is None:
        raise DataError(
            f"{name!r} names no split of a hub data set: write hub:ORG/NAME:SPLIT or hub:ORG/NAME#CONFIG:SPLIT."
        )
    library = _library("datasets", f"Reading {name}")
    try:
        found = _hub_split(library, parts["name"], parts["config"], parts["split"])
    except Exception as error:  # whatever the network, the hub or the set's own files bring
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise DataError(f"The data set {name} can't be fetched ({reason}): check its name and the network.") from None
    kinds = getattr(found, "features", None) or {}
    if media := [column for column, kind in kinds.items() if _is_media(kind)]:
        found, kinds = found.remove_columns(media), {name: kind for name, kind in kinds.items() if name not in media}
    names = {column: kind.names for column, kind in kinds.items() if getattr(kind, "names", None)}
    for number, values in enumerate(found, 1):
        for column in names.keys() & values.keys():
            if isinstance(value := values[column], int) and 0 <= value < len(names[column]):
                values = {**values, column: names[column][value]}
        yield Row(_without_gaps(values), f"{name} row {number}")


def _is_media(kind: Any) -> bool:
    """Whether a column's kind, or that of its lists' items, is a picture, sound or the like, which is no example's."""
    return type(kind).__name__ in _MEDIA or (hasattr(kind, "feature") and _is_media(kind.feature))


def _hub_split(library: Any, name: str, config: str | None, split: str) -> Any:
    try:
        return library.load_dataset(name, config, split=split)
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
    # What was published with a script of its own, such as SciTLDR, the hub keeps as Parquet files on a branch.
    files = f"hf://datasets/{name}@refs/convert/parquet/{config or 'default'}/{split}/*.parquet"
    return library.load_dataset("parquet", data_files=files, split="train")


def with_columns(row: Row, columns: Mapping[str, str]) -> Row:
    """Return the row with columns under the names that an example's fields have.

    A column given to another field no longer counts under its own name: where ``text=source``, the column
    ``source`` isn't the field ``source`` as well.

    Args:
        row: as it was read.
        columns: field -> column. A dot goes into a nested value, as in ``text=translation.en``, unless a column
            has that very name.

    Raises:
        DataError: the row has no such column; the message suggests the nearest.

    Example:
        >>> with_columns(Row({"sentence": "Fine.", "target": "1"}, "a.csv:2"), {"text": "sentence"}).fields
        {'target': '1', 'text': 'Fine.'}
    """
    if not columns:
        return row
    kept = {name: value for name, value in row.fields.items() if name not in columns.values()}
    return Row({**kept, **{field: _column(row, column) for field, column in columns.items()}}, row.where)


def _column(row: Row, column: str) -> object:
    value: object = row.fields
    for part in [column] if column in row.fields else column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise DataError(
                f"{row.where} has no column {column!r}.{suggestion(column, row.fields)} "
                f"It has: {', '.join(row.fields) or 'nothing'}."
            )
        value = value[part]
    return value


def _parquet(path: Path) -> Iterator[Row]:
    library = _library("pyarrow.parquet", f"Reading {path}")
    number = 0
    try:
        for batch in library.ParquetFile(path).iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield Row(_without_gaps(values), f"{path}:{number}")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"The file {path} can't be read ({reason}): give the path of a Parquet file.") from None
    except ValueError as error:  # pyarrow's errors of a malformed file are among these
        raise DataError(f"{path} is no well-formed Parquet file ({error}): write it anew.") from None
    if not number:
        raise DataError(f"There is no input in {path}: give it some rows.")


def _library(module: str, purpose: str) -> Any:
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise DataError(
            f"{purpose} needs the package {package}, which isn't installed: run pip install {package}."
        ) from None


def _without_gaps(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
