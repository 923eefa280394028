"""The likelihoods of a text's tokens are those of one forward pass, and of overlapping windows beyond the context."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.text_scoring import scoring_windows, token_log_probabilities

IDS = st.integers(20, 5000)


@given(st.integers(2, 500), st.integers(1, 300), st.integers(2, 64))
def test_the_windows_score_every_token_once_with_half_a_window_before_it(length: int, context: int, size: int) -> None:
    windows = scoring_windows(length, min(context, length - 1), size)
    scored = [place for window in windows for place in range(window.fresh, window.end)]
    assert scored == list(range(min(context, length - 1), length))
    assert all(0 < window.end - window.start <= size for window in windows)
    assert all(window.fresh > window.start for window in windows)
    assert all(window.fresh - window.start >= size // 2 for window in windows[1:])


@settings(max_examples=15)
@given(st.lists(st.lists(IDS, min_size=2, max_size=100), min_size=1, max_size=4), st.integers(1, 3))
def test_token_likelihoods_are_those_of_one_forward_pass(
    tiny_model: LanguageModel, texts: list[list[int]], batch_size: int
) -> None:
    scores = token_log_probabilities(tiny_model, texts, given=[1] * len(texts), batch_size=batch_size)
    for text, found in zip(texts, scores, strict=True):
        with torch.inference_mode():
            logits = tiny_model.logits(tiny_model.read([text[:-1]])[0]).log_softmax(-1)
        expected = [float(logits[place, token]) for place, token in enumerate(text[1:])]
        assert found == pytest.approx(expected, abs=1e-3, rel=1e-5)


def test_a_text_beyond_the_context_is_scored_in_windows(tiny_model: LanguageModel) -> None:
    text = [(7 * place) % 4000 + 20 for place in range(300)]
    (scores,) = token_log_probabilities(tiny_model, [text], given=[1])
    assert len(scores) == 299
    first = token_log_probabilities(tiny_model, [text[:128]], given=[1])[0]
    assert scores[:127] == pytest.approx(first, abs=1e-3)
    last_window = text[192:]  # the windows start at 0, 64, 128, 192; the last one scores what no other did
    tail = token_log_probabilities(tiny_model, [last_window], given=[1])[0]
    assert scores[256 - 1 :] == pytest.approx(tail[256 - 192 - 1 :], abs=1e-3)
