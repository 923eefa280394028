"""A text that can't be encoded costs nothing that stood before it; and which texts greedy decoding would give."""

from __future__ import annotations

import pytest
import torch

from gptapps import ScoringExample, pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError


def test_rows_before_a_bad_one_are_scored(default_model: LanguageModel) -> None:
    stream = pipeline("score", model=default_model).stream(["One.", "Two.", "\ud800"])
    assert next(stream).tokens > 0
    assert next(stream).tokens > 0
    with pytest.raises(DataError, match=r"The field text of an input has half a character at position 0, .* surrogate"):
        next(stream)


PASSAGES = [
    ("The dog wagged its", " tail"),
    ("He turned the key and opened the", " door"),
    ("She put the kettle on and made a cup of", " tea"),
    ("At the market he bought bread, butter and a", " submarine"),
    ("", "Once upon a time"),
    ("We waited for the bus in the", " thunderstorm"),
]


def test_a_text_is_greedy_where_each_of_its_tokens_is_the_likeliest(default_model: LanguageModel) -> None:
    outputs = pipeline("score", model=default_model)([ScoringExample(text=t, context=c) for c, t in PASSAGES])
    tokenizer, start = default_model.tokenizer, default_model.start_id
    expected = []
    for context, text in PASSAGES:
        whole = [start, *tokenizer.encode(context + text)]
        length = len(tokenizer.encode(context)) + 1
        with torch.inference_mode():
            best = default_model.logits(default_model.read([whole[:-1]])[0]).argmax(-1).tolist()
        expected.append(best[length - 1 :] == whole[length:])
    assert [output.greedy for output in outputs] == expected
    assert len(set(expected)) == 2
