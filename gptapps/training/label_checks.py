"""What is wrong with the labels: too few kinds, far more of one than of another, two spellings of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gptapps.training.findings import Finding, place_of
from gptapps.training.identity import loosened
from gptapps.training.reading import Part, TrainingRows, labels_of

_UNEVEN = 10  # times as many examples of one label as of another
_FEW_ROWS = 20  # below that any label may occur once


def label_findings(rows: TrainingRows, labels: tuple[str, ...], part: Part) -> Iterator[Finding]:
    """Yield what is wrong with the labels of the rows to learn from.

    Args:
        rows: how they were read.
        labels: those there are.
        part: the rows.
    """
    if not rows.has_labels or not part.items:
        return
    counts = Counter(label for item in part.items for label in labels_of(rows.evaluator.gold(item.example)))
    if not counts:
        return
    file, column = place_of(part.items[0].where)[0], rows.column("label")
    if len(counts) < 2:
        what = f"every row has the label {next(iter(counts))!r}, so that there is nothing to tell apart"
        yield Finding("fatal", "single_label", what, "add rows of another label", file, None, column, len(part.items))
        return
    single = rows.evaluator.kind == "labels"  # several together may well be many
    if single and len(part.items) >= _FEW_ROWS and 2 * len(counts) > len(part.items):
        what = f"it holds {len(counts):,} different values in {len(part.items):,} rows, which are no labels"
        remedy = "say with columns label=… which column holds them"
        yield Finding("fatal", "wrong_column", what, remedy, file, None, column, len(part.items))
        return
    if absent := [label for label in labels if label not in counts]:
        what = f"no row to learn from has the label{'s' if len(absent) > 1 else ''} {_quoted(absent)}"
        yield Finding("warning", "absent_label", what, "add some, or take the label away", file, None, column)
    yield from _similar(labels, file, column)
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many >= _UNEVEN * few:
        what = f"the label {most!r} has {many:,} rows and {least!r} {few:,}"
        remedy = f"add rows of {least!r}, or let class weights even it out"
        yield Finding("warning", "imbalance", what, remedy, file, None, column, len(part.items))


def _similar(labels: tuple[str, ...], file: str, column: str) -> Iterator[Finding]:
    spellings: dict[str, list[str]] = {}
    for label in labels:
        spellings.setdefault(loosened(label), []).append(label)
    for alike in spellings.values():
        if len(alike) > 1:
            what = f"the labels {_quoted(alike)} differ in case, spaces or punctuation only"
            yield Finding("warning", "similar_labels", what, "make them one with label_names", file, None, column)


def _quoted(labels: list[str]) -> str:
    return ", ".join(map(repr, labels))
