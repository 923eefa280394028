"""Stop strings wherever token borders fall."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.text_assembly import TextAssembly

ALPHABET = st.sampled_from("ab \n猫🐈")


@given(st.text(ALPHABET, max_size=40), st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3))
def test_the_text_ends_before_the_first_stop_string(default_model: LanguageModel, text: str, stops: list[str]) -> None:
    tokenizer = default_model.tokenizer
    assembly = TextAssembly(tokenizer, tuple(stops))
    pieces = []
    for token in tokenizer.encode(text):
        pieces.append(assembly.push(token))
        if assembly.stopped:
            break
        assert not any(stop in assembly.text for stop in stops)
    pieces.append(assembly.finish())
    shown = "".join(pieces)
    assert shown == assembly.text
    hits = [text.find(stop) for stop in stops if stop in text]
    if hits:
        assert assembly.stopped
        assert not any(stop in shown for stop in stops)
        assert text.startswith(shown)
        assert any(text[len(shown) :].startswith(stop) for stop in stops)
    else:
        assert not assembly.stopped
        assert shown == text


def test_nothing_that_may_be_part_of_a_stop_string_is_shown_early(default_model: LanguageModel) -> None:
    assembly = TextAssembly(default_model.tokenizer, ("###",))
    tokens = default_model.tokenizer.encode("a ## b")
    shown = [assembly.push(token) for token in tokens]
    assert "#" not in "".join(shown[: len(tokens) - 1])
    assert "".join(shown) + assembly.finish() == "a ## b"
