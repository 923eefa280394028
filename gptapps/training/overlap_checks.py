"""Rows that come twice, with the same gold or another, and validation rows that are among those to learn from."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from gptapps.evaluation.evaluators import Evaluator
from gptapps.evaluation.selection import Item
from gptapps.examples import QuestionExample
from gptapps.training.findings import Finding, place_of
from gptapps.training.identity import Identity, identities
from gptapps.training.near_duplicates import near_duplicates

Pair = tuple[Item, Item, bool]
"""A row, the row that it is like, and whether it is so only but for case, spaces and punctuation."""


class Known:
    """Rows by what they ask."""

    def __init__(self) -> None:
        self._exact: dict[Hashable, Item] = {}
        self._loose: dict[Hashable, Item] = {}

    def add(self, identity: Identity, item: Item) -> None:
        """Note a row, unless one that asks the same was noted before."""
        self._exact.setdefault(identity.exact, item)
        self._loose.setdefault(identity.loose, item)

    def like(self, identity: Identity, item: Item) -> Pair | None:
        """Return the row with the first one that asks the same, if there is one."""
        if (strictly := self._exact.get(identity.exact)) is not None:
            return item, strictly, False
        if (loosely := self._loose.get(identity.loose)) is not None:
            return item, loosely, True
        return None


def repetition_findings(evaluator: Evaluator, items: Sequence[Item], asked: Sequence[Identity]) -> Iterator[Finding]:
    """Yield rows that come again, and rows that come again with another label.

    Args:
        evaluator: of the family.
        items: the rows.
        asked: what each asks.
    """
    known = Known()
    repeated: list[Pair] = []
    conflicting: list[Pair] = []
    for item, identity in zip(items, asked, strict=True):
        pair = known.like(identity, item)
        known.add(identity, item)
        if pair is None:
            continue
        if _gold(evaluator, pair[1]) == _gold(evaluator, item):
            repeated.append(pair)
        elif evaluator.kind != "texts":
            conflicting.append(pair)
    if conflicting:
        item, before, _ = conflicting[0]
        golds = f"is {evaluator.gold(before.example)!r} there and {evaluator.gold(item.example)!r} here"
        what = f"the same as {_first('an earlier row', conflicting)}, but {golds}"
        yield _finding("conflict", conflicting, what, "decide for one of the two")
    if repeated:
        what = f"the same as {_first('an earlier row', repeated)}"
        yield _finding("duplicate", repeated, what, "take it out, or it counts more than once")


def leak_findings(evaluator: Evaluator, train: Sequence[Item], validation: Sequence[Item]) -> Iterator[Finding]:
    """Yield validation rows that are among those to learn from: in full, loosely, nearly, or in what they are about.

    Where all of them are, the finding is fatal.
    """
    known, subjects = Known(), set()
    for item, identity in zip(train, identities(train, evaluator), strict=True):
        known.add(identity, item)
        subjects.add(identity.subject)
    leaked: list[Pair] = []
    shared: list[Item] = []
    fresh: list[Item] = []
    for item, identity in zip(validation, identities(validation, evaluator), strict=True):
        if (pair := known.like(identity, item)) is not None:
            leaked.append(pair)
        else:
            (shared if identity.subject in subjects else fresh).append(item)
    if leaked:
        what = f"{len(leaked):,} of {len(validation):,} rows are the same as {_first('a row to learn from', leaked)}"
        severity = "warning" if shared or fresh else "fatal"
        yield _finding("leak", leaked, what, _ELSEWHERE, severity)
    if shared:
        file, line = place_of(shared[0].where)
        what = f"{len(shared):,} of {len(validation):,} rows ask about a context that is asked about to learn from"
        yield Finding("warning", "shared_context", what, _ELSEWHERE, file, line, None, len(shared))
    near = near_duplicates([_text(item, evaluator) for item in fresh], [_text(item, evaluator) for item in train])
    if near:
        pairs = [(fresh[mine], train[theirs], False) for mine, theirs in near.items()]
        what = (
            f"{len(pairs):,} of {len(validation):,} rows are nearly the same as {_first('a row to learn from', pairs)}"
        )
        yield _finding("near_leak", pairs, what, _ELSEWHERE)


def _gold(evaluator: Evaluator, item: Item) -> object:
    gold = evaluator.gold(item.example)
    return frozenset(gold) if isinstance(gold, tuple) else gold  # in no order


_ELSEWHERE = "take such rows out of one of the two, or the results will look too good"


def _finding(kind: Any, pairs: Sequence[Pair], what: str, remedy: str, severity: Any = "warning") -> Finding:
    file, line = place_of(pairs[0][0].where)
    return Finding(severity, kind, what, remedy, file, line, None, len(pairs))


def _first(which: str, pairs: Sequence[Pair]) -> str:
    row = place_of(pairs[0][1].where)[1]
    loosely = sum(pair[2] for pair in pairs)
    share = f"{loosely:,} of them " if loosely < len(pairs) else ""
    slack = f"; {share}but for case, spaces and punctuation" if loosely else ""
    return f"{which} ({'first: ' if len(pairs) > 1 else ''}row {row}{slack})"


def _text(item: Item, evaluator: Evaluator) -> str:
    if isinstance(item.example, QuestionExample):
        return item.example.context
    left_out = (evaluator.gold_field, "language")
    values = (getattr(item.example, name) for name in evaluator.example_type.model_fields if name not in left_out)
    return "\n".join(value for value in values if isinstance(value, str))
