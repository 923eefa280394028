"""What is wrong with single rows, told once for all rows that it is wrong with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gptapps.errors import OptionError
from gptapps.evaluation.selection import Item
from gptapps.examples import GenerationExample, QuestionExample, TranslationExample
from gptapps.prompts.languages import language_name
from gptapps.registry import suggestion
from gptapps.training.findings import Finding, Severity, place_of
from gptapps.training.reading import Fault, Part, TrainingRows

_REMEDIES = {
    "missing": "fill it in, or leave the row out",
    "empty": "fill it in, or leave the row out",
    "unknown_label": "mend it, or say with label_names what it stands for",
    "unusable": "mend the row, or leave it out",
}
# UTF-8 that was read as Windows-1252, the character for bytes that were none, and that character's bytes read as GBK.
_GARBLED = re.compile("\ufffd|锟斤拷|(?:[ÃÂ][\u0080-\u00bf]|[âãäåæçèéï][\u0080-\u00ff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]{2})")


def row_findings(rows: TrainingRows, part: Part) -> Iterator[Finding]:
    """Yield what kept rows from being examples: each column, each unknown label, and the rest by what is wrong."""
    count = len(part.items) + len(part.faults)
    alike: dict[tuple[str, str | None, str], list[Fault]] = {}
    for fault in part.faults:
        alike.setdefault((fault.kind, fault.column, fault.what), []).append(fault)
    for (kind, column, what), faults in alike.items():
        file, line = place_of(faults[0].where)
        if kind == "missing" and column is not None and column not in part.columns:
            yield _wrong_column(rows, part, file, column, count)
        else:
            yield Finding("fatal", faults[0].kind, what, _REMEDIES[kind], file, line, column, len(faults))


def text_findings(rows: TrainingRows, items: Sequence[Item]) -> Iterator[Finding]:
    """Yield what is wrong with the texts of rows that are examples: garbled characters, languages, answers."""
    yield from _garbled(rows, items)
    yield from _languages(rows, items)
    if rows.definition.behaviour("answer") == "extractive":
        yield from _absent_answers(rows, items)


def first_of(items: Sequence[Item]) -> tuple[str, int | None]:
    """Return the file and line of the first of some items."""
    return place_of(items[0].where)


def _wrong_column(rows: TrainingRows, part: Part, file: str, column: str, count: int) -> Finding:
    fields = {rows.column(name): name for name in rows.evaluator.example_type.model_fields}
    field = fields.get(column, column)
    what = f"no row has the column {column!r}.{suggestion(column, part.columns)} There are: {', '.join(part.columns)}"
    remedy = f"say with columns {field}=… which it is"
    if rows.evaluator.example_type is GenerationExample and field == rows.evaluator.gold_field:
        remedy += "; or learn plain texts as the task 'score', which a model may then be asked to continue"
    return Finding("fatal", "wrong_column", what, remedy, file, None, column, count)


def _garbled(rows: TrainingRows, items: Sequence[Item]) -> Iterator[Finding]:
    found: dict[str, list[Item]] = {}
    for item in items:
        for name in rows.evaluator.example_type.model_fields:
            if any(not text.isascii() and _GARBLED.search(text) for text in _texts(getattr(item.example, name))):
                found.setdefault(name, []).append(item)
    for name, those in found.items():
        what = "a text holds characters that were read in a wrong encoding, such as Ã© or \ufffd"
        file, line = first_of(those)
        remedy = "write the file anew from its source, as UTF-8"
        yield Finding("warning", "garbled", what, remedy, file, line, rows.column(name), len(those))


def _languages(rows: TrainingRows, items: Sequence[Item]) -> Iterator[Finding]:
    wrong: dict[tuple[str | None, str], list[Item]] = {}
    for item in items:
        example = item.example
        fault = _language_fault(example, rows.options) if isinstance(example, TranslationExample) else None
        if fault is not None:
            wrong.setdefault(fault, []).append(item)
    for (field, what), those in wrong.items():
        file, line = first_of(those)
        column = None if field is None else rows.column(field)
        remedy = "give the languages as codes such as en, by the options source and target or by columns that hold them"
        yield Finding("fatal", "wrong_language", what, remedy, file, line, column, len(those))


def _language_fault(example: TranslationExample, options: Mapping[str, Any]) -> tuple[str | None, str] | None:
    codes = {name: getattr(example, name) or options.get(name) for name in ("source", "target")}
    for name, code in codes.items():
        if code is None:
            return None, f"nothing says what the {name} language is"
        try:
            language_name(code)
        except OptionError:
            shown = code if len(code) < 20 else f"{code[:20]}…"
            return name, f"{shown!r} is not the code of a language"
    return (
        (None, f"it is to be translated from {codes['source']!r} to the same") if len(set(codes.values())) < 2 else None
    )


def _absent_answers(rows: TrainingRows, items: Sequence[Item]) -> Iterator[Finding]:
    absent, nearly = [], 0
    for item in items:
        example = item.example
        if not isinstance(example, QuestionExample) or not example.answers:
            continue
        if not any(answer and answer in example.context for answer in example.answers):
            absent.append(item)
            nearly += any(_folded(answer) in _folded(example.context) for answer in example.answers)
    if not absent:
        return
    severity: Severity = "fatal" if len(absent) == len(items) else "warning"
    what = "no answer stands in its context word for word"
    if nearly:
        what += f" (in {nearly:,} of them it does but for case and spaces)"
    file, line = first_of(absent)
    remedy = (
        "write the answer as the context has it, or leave the row out; where it stays, no method learns a place from it"
    )
    yield Finding(severity, "answer_not_in_context", what, remedy, file, line, rows.column("answers"), len(absent))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    return (one for one in value if isinstance(one, str)) if isinstance(value, tuple) else ()
