"""What is done to the rows of data whose rows aren't examples yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Literal

from gptapps.datasets import Row

Preparation = Literal["last_word", "skip_empty", "articles"]
"""``last_word``: a text's last word is scored behind the rest of it (Paperno et al. 2016, LAMBADA). ``skip_empty``:
rows without text are separators and are left out. ``articles``: rows are the lines of articles, each of which begins
with its title between single equals signs and empty lines around it (Merity et al. 2017, WikiText)."""

NEEDED_FIELDS = {"last_word": "context", "skip_empty": "text", "articles": "text"}
"""Preparation -> the field that a task's examples must have for it."""

_TITLE = re.compile(r" = (?!= ).* = \n?")
_EMPTY_LINE = " \n"  # as the published files have it; the hub's copy has nothing there


def joined_articles(rows: Iterable[Row], column: str) -> Iterator[Row]:
    """Yield one row an article, made of the rows of its lines; what stands before the first title is a row as well.

    Args:
        rows: lines, each with its line break; an empty one may have lost it.
        column: which holds them.

    Example:
        >>> lines = ["", " = Boats = \\n", "", " They float . \\n", "", " = Ships = \\n", "", " They sail . \\n"]
        >>> rows = [Row({"text": line}, f"a:{number}") for number, line in enumerate(lines, 1)]
        >>> [(row.fields["text"], row.where) for row in joined_articles(rows, "text")]
        [(' \\n = Boats = \\n \\n They float . \\n', 'a:1'), (' \\n = Ships = \\n \\n They sail . \\n', 'a:5')]
    """
    known = list(rows)
    lines = [str(row.fields.get(column, "")) for row in known]
    begins = [
        place - 1
        for place in range(1, len(lines) - 1)
        if _TITLE.fullmatch(lines[place]) and not lines[place - 1].strip() and not lines[place + 1].strip()
    ]
    borders = sorted({0, *begins, len(lines)})
    for first, end in pairwise(borders):
        text = "".join(line if line.strip() else _EMPTY_LINE for line in lines[first:end])
        yield Row({**known[first].fields, column: text}, known[first].where)
