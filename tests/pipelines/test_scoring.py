"""A text that can't be encoded costs nothing that stood before it."""

from __future__ import annotations

import pytest

from gptapps import pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError


def test_rows_before_a_bad_one_are_scored(default_model: LanguageModel) -> None:
    stream = pipeline("score", model=default_model).stream(["One.", "Two.", "\ud800"])
    assert next(stream).tokens > 0
    assert next(stream).tokens > 0
    with pytest.raises(DataError, match=r"The field text of an input has half a character at position 0, .* surrogate"):
        next(stream)
