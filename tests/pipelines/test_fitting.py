"""Texts too long for the model are cut where a reader would cut them, and nothing gets lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import InputTooLongError
from gptapps.pipelines.fitting import Fitted, fit


def fitted(model: LanguageModel, text: str, limit: int, **options: object) -> Fitted:
    tokenizer = model.tokenizer
    given: dict[str, object] = {"overflow": "chunk", **options}
    return fit(
        text,
        prompt_length=lambda piece: len(tokenizer.encode(piece, special_tokens=False)),
        tokenizer=tokenizer,
        limit=limit,
        **given,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("text", "borders"),
    [
        ("We went to the sea. " * 40, ". "),
        ("我们去了海边\uff1f他们睡觉了\uff01" * 40, "\uff1f\uff01"),
        ("我们去了海边\uff0c他们睡觉了\uff1b" * 40, "\uff0c\uff1b"),
        ("one two three " * 60, " "),
        ("first line\nsecond line\n" * 40, "\n"),
    ],
    ids=["sentences", "chinese sentences", "chinese clauses", "words", "lines"],
)
def test_pieces_end_at_a_border(default_model: LanguageModel, text: str, borders: str) -> None:
    pieces = fitted(default_model, text, 60).pieces
    assert len(pieces) > 2
    assert all(piece.text[-1] in borders for piece in pieces[:-1])


def test_a_url_is_not_cut_behind_its_question_mark(default_model: LanguageModel) -> None:
    pieces = fitted(default_model, "see https://b.example/?q=foo now " * 30, 60).pieces
    assert not any(piece.text.endswith("?") for piece in pieces)


@given(st.text(alphabet="ab .,!?\n。\uff01\uff0c汉字", min_size=1, max_size=200), st.integers(4, 30), st.integers(0, 3))
def test_pieces_cover_the_text(plain_tiny: LanguageModel, text: str, limit: int, overlap: int) -> None:
    pieces = fitted(plain_tiny, text, limit, overlap=overlap).pieces
    covered = 0
    for piece in pieces:
        assert text[piece.start : piece.start + len(piece.text)] == piece.text
        assert piece.start <= covered
        covered = max(covered, piece.start + len(piece.text))
    assert covered == len(text)


@pytest.mark.parametrize("keep_end", [False, True])
def test_what_is_cut_off_is_counted(default_model: LanguageModel, keep_end: bool) -> None:
    text = "one two three four five six seven eight nine ten"
    cut = fitted(default_model, text, 4, overflow="truncate", keep_end=keep_end)
    (piece,) = cut.pieces
    assert text.endswith(piece.text) if keep_end else text.startswith(piece.text)
    assert cut.dropped_tokens == 6


def test_a_long_text_is_refused_where_asked(default_model: LanguageModel) -> None:
    with pytest.raises(InputTooLongError, match="10 tokens, and the model holds 4"):
        fitted(default_model, "one two three four five six seven eight nine ten", 4, overflow="error")
