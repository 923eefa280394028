"""Checks that every metric makes before it scores anything, and the sentences they end in.

Examples are counted from 1 in messages, as lines of a file are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gptapps.errors import DataError
from gptapps.registry import suggestion

TextReference = str | Sequence[str]


def check_pairs(predictions: Sequence[object], references: Sequence[object]) -> None:
    """Check that there is something to score, and one reference for each prediction.

    Raises:
        DataError: nothing to score, unequal lengths, or one text where a list of them is due.
    """
    for what, values in (("predictions", predictions), ("references", references)):
        if isinstance(values, str):
            raise DataError(f"The {what} are a single text: pass a list with one entry for each example.")
    if len(predictions) != len(references):
        raise DataError(
            f"There are {len(predictions)} predictions but {len(references)} references: "
            "pass one entry in references for each prediction."
        )
    if len(predictions) == 0:
        raise DataError("There is nothing to score: predictions and references are empty.")


def check_texts(values: Sequence[object], what: str) -> None:
    """Check that every entry of ``values`` is text; ``what`` names one entry, such as ``"Prediction"``.

    Raises:
        DataError: an entry is something else.
    """
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise DataError(f"{what} {number} is {type(value).__name__}, but this metric takes text (str).")


def check_known(values: Sequence[str], known: Collection[str], what: str) -> None:
    """Check that every entry of ``values`` is one of the ``known`` labels.

    Raises:
        DataError: one isn't; the message suggests the nearest.
    """
    for number, value in enumerate(values, start=1):
        if value not in known:
            raise DataError(
                f"{what} {number} is the unknown label {value!r}.{suggestion(value, known)} "
                f"Known: {', '.join(sorted(known))}."
            )


def reference_tuples(references: Sequence[TextReference], *, empty_allowed: bool = False) -> list[tuple[str, ...]]:
    """Return each example's references as a tuple, whether it came as one text or as several.

    Raises:
        DataError: an example has no reference though it needs one, or something that isn't text.
    """
    listed: list[tuple[str, ...]] = []
    for number, reference in enumerate(references, start=1):
        if not isinstance(reference, Sequence):
            raise DataError(
                f"Reference {number} is {type(reference).__name__}, but this metric takes a text or several."
            )
        texts = (reference,) if isinstance(reference, str) else tuple(reference)
        if not texts and not empty_allowed:
            raise DataError(f"Reference {number} is empty: this metric needs at least one text.")
        check_texts(texts, f"Of reference {number}, text")
        listed.append(texts)
    return listed
