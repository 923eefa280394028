"""Generation held to a text stands in the text, from word border to word border."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.decoding.constraints import SubstringConstraint
from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.request import Request
from gptapps.errors import DataError

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from(" .,猫狗在🐈é a b"), max_size=60
).filter(lambda text: any(char.isalnum() for char in text))


@settings(max_examples=40)
@given(TEXTS, st.sampled_from(["", " "]), st.lists(st.integers(0, 10**6), min_size=1, max_size=12))
def test_any_walk_through_the_allowed_tokens_is_a_stretch_of_the_text(
    default_model: LanguageModel, text: str, leading: str, turns: list[int]
) -> None:
    tokenizer = default_model.tokenizer
    constraint = SubstringConstraint(tokenizer, text, end_ids=tokenizer.eos_ids, leading=leading)
    state = constraint.start()
    written: list[int] = []
    for turn in turns:
        allowed = sorted(set(state.allowed()) - set(tokenizer.eos_ids))
        if not allowed:
            break
        token = allowed[turn % len(allowed)]
        assert token in state.allowed()
        state.advance(token)
        written.append(token)
    spelled = b"".join(tokenizer.token_bytes(token) for token in written)
    assert spelled.removeprefix(leading.encode()) in text.encode() or spelled in (leading + text).encode()
    if spelled != leading.encode():
        span = state.span()
        assert 0 <= span.start < span.end <= len(text)
        assert not text[span.start].isspace()
        assert not text[span.end - 1].isspace()


def test_the_end_is_allowed_after_a_word_only(default_model: LanguageModel) -> None:
    tokenizer = default_model.tokenizer
    constraint = SubstringConstraint(tokenizer, "Unbelievable stories", end_ids=tokenizer.eos_ids)
    state = constraint.start()
    assert not set(state.allowed()) & set(tokenizer.eos_ids)
    state.advance(tokenizer.encode("Un")[0])
    assert not set(state.allowed()) & set(tokenizer.eos_ids)
    assert state.end() is None
    for token in tokenizer.encode("believable"):
        state.advance(token)
    assert set(tokenizer.eos_ids) <= set(state.allowed())
    assert state.end() in tokenizer.eos_ids


def test_chinese_words_end_behind_any_character(default_model: LanguageModel) -> None:
    tokenizer = default_model.tokenizer
    state = SubstringConstraint(tokenizer, "会议在北京举行。", end_ids=tokenizer.eos_ids).start()
    for token in tokenizer.encode("北京"):
        state.advance(token)
    assert state.end() in tokenizer.eos_ids
    span = state.span()
    assert "会议在北京举行。"[span.start : span.end] == "北京"


def test_a_generated_answer_stands_in_the_text(default_model: LanguageModel) -> None:
    text = "The bridge was designed by Ilse Baumann and opened in 1987."
    tokenizer = default_model.tokenizer
    prompt = tokenizer.encode(f"{text}\nQuestion: Who designed the bridge?\nAnswer:")
    constraint = SubstringConstraint(tokenizer, text, end_ids=tokenizer.eos_ids, leading=" ")
    (one,) = next(Engine(default_model).complete([Request(tuple(prompt), 12, constraint=constraint)]))
    assert one.text.strip() in text
    assert "Baumann" in one.text


def test_a_text_without_a_word_is_refused(default_model: LanguageModel) -> None:
    with pytest.raises(DataError, match="no word"):
        SubstringConstraint(default_model.tokenizer, "  \n ", end_ids=(2,))
