"""What is done to the rows of data whose rows aren't examples yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Literal

from gptapps.datasets import Row
from gptapps.errors import DataError

Preparation = Literal["last_word", "skip_empty", "articles"]
"""``last_word``: a text's last word is scored behind the rest of it (Paperno et al. 2016, LAMBADA). ``skip_empty``:
rows without text are separators and are left out. ``articles``: rows are the lines of articles, each of which begins
with its title between single equals signs and empty lines around it (Merity et al. 2017, WikiText)."""

NEEDED_FIELDS = {"last_word": "context", "skip_empty": "text", "articles": "text"}
"""Preparation -> the field that a task's examples must have for it."""

_TITLE = re.compile(r" = (?!= ).* = \n")
_EMPTY_LINE = " \n"  # as the published files have it; the hub's copy has nothing there


def joined_articles(rows: Iterable[Row], column: str) -> Iterator[Row]:
    """Yield one row an article, made of the rows of its lines; what stands before the first title is a row as well.

    Args:
        rows: lines, whose line breaks may be missing.
        column: which holds them.

    Raises:
        DataError: a row has no single line there, or none of the lines is a title.

    Example:
        >>> lines = ["", " = Boats = \\n", "", " They float . \\n", "", " = Ships = \\n", "", " They sail . \\n"]
        >>> rows = [Row({"text": line}, f"a:{number}") for number, line in enumerate(lines, 1)]
        >>> [(row.fields["text"], row.where) for row in joined_articles(rows, "text")]
        [(' \\n = Boats = \\n \\n They float . \\n', 'a:1'), (' \\n = Ships = \\n \\n They sail . \\n', 'a:5')]
    """
    known = list(rows)
    lines = [_line(row, column) for row in known]
    titles = [
        place
        for place in range(1, len(lines) - 1)
        if _TITLE.fullmatch(lines[place]) and lines[place - 1] == lines[place + 1] == _EMPTY_LINE
    ]
    if not titles:
        raise DataError(
            "None of the rows is the title of an article, such as ' = Boats = ' between empty rows: leave "
            "prepare='articles' out, or give the lines of the articles."
        )
    for first, end in pairwise(sorted({0, *(place - 1 for place in titles), len(lines)})):
        yield Row({**known[first].fields, column: "".join(lines[first:end])}, known[first].where)


def _line(row: Row, column: str) -> str:
    line = row.fields.get(column)
    if not isinstance(line, str) or "\n" in line.removesuffix("\n"):
        raise DataError(
            f"{row.where} has no single line of text in the column {column!r}: leave prepare='articles' out, or name "
            "the column that holds the lines."
        )
    return f"{line.removesuffix(chr(10))}\n" if line.strip() else _EMPTY_LINE
