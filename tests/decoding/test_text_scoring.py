"""The likelihoods of a text's tokens are those of one forward pass, and of overlapping windows beyond the context."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import PrefixTree
from gptapps.decoding.request import Request
from gptapps.decoding.sampling import Sampling
from gptapps.decoding.shared_reading import TokenScore, read_scores
from gptapps.decoding.text_scoring import scoring_windows, text_windows

IDS = st.integers(20, 5000)


def token_scores(model: LanguageModel, text: list[int], given: int = 1) -> list[TokenScore]:
    windows = list(text_windows(text, given, model.context_length))
    return [score for (window,) in read_scores(PrefixTree(model), windows) for score in window]


def numbers(scores: Iterable[TokenScore]) -> list[float]:
    return [score.log_probability for score in scores]


@given(st.integers(2, 500), st.integers(1, 300), st.integers(2, 64))
def test_the_windows_score_every_token_once_with_half_a_window_before_it(length: int, context: int, size: int) -> None:
    windows = scoring_windows(length, min(context, length - 1), size)
    scored = [place for window in windows for place in range(window.fresh, window.end)]
    assert scored == list(range(min(context, length - 1), length))
    assert all(0 < window.end - window.start <= size for window in windows)
    assert all(window.fresh > window.start for window in windows)
    assert all(window.fresh - window.start >= size // 2 for window in windows[1:])


@settings(max_examples=15)
@given(st.lists(st.lists(IDS, min_size=2, max_size=100), min_size=1, max_size=4))
def test_token_likelihoods_are_those_of_one_forward_pass(tiny_model: LanguageModel, texts: list[list[int]]) -> None:
    for text in texts:
        found = token_scores(tiny_model, text)
        with torch.inference_mode():
            logits = tiny_model.logits(tiny_model.read([text[:-1]])[0]).log_softmax(-1)
        expected = [float(logits[place, token]) for place, token in enumerate(text[1:])]
        assert numbers(found) == pytest.approx(expected, abs=1e-3, rel=1e-5)


@settings(max_examples=15)
@given(st.lists(IDS, min_size=1, max_size=5), st.integers(1, 20), st.integers(0, 19), IDS)
def test_the_likeliest_tokens_are_those_of_greedy_decoding(
    tiny_model: LanguageModel, text: list[int], count: int, place: int, other: int
) -> None:
    request = Request(tokens=tuple(text), max_new_tokens=count, sampling=Sampling(temperature=0.0))
    ((completion,),) = Engine(tiny_model).complete([request])
    written = list(completion.tokens)
    scores = token_scores(tiny_model, [*text, *written], len(text))
    assert all(score.likeliest for score in scores)
    place = min(place, len(written) - 1)
    changed = [*written[:place], other, *written[place + 1 :]]
    scores = token_scores(tiny_model, [*text, *changed], len(text))
    assert scores[place].likeliest is (other == written[place])


def test_of_equally_likely_tokens_the_lowest_counts(tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanguageModel, "logits", lambda _, hidden: torch.zeros(len(hidden), 6000))
    scores = token_scores(tiny_model, [30, 0, 1, 0, 5000])
    assert [score.likeliest for score in scores] == [True, False, True, False]


def test_a_text_beyond_the_context_is_scored_in_windows(tiny_model: LanguageModel) -> None:
    text = [(7 * place) % 4000 + 20 for place in range(300)]
    scores = numbers(token_scores(tiny_model, text))
    assert len(scores) == 299
    first = numbers(token_scores(tiny_model, text[:128]))
    assert scores[:127] == pytest.approx(first, abs=1e-3)
    last_window = text[192:]  # the windows start at 0, 64, 128, 192; the last one scores what no other did
    tail = numbers(token_scores(tiny_model, last_window))
    assert scores[256 - 1 :] == pytest.approx(tail[256 - 192 - 1 :], abs=1e-3)
