"""Choices are split where whole texts first differ, and their tokens' likelihoods add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.decoding.choice_scoring import Choices, choice_scores, log_likelihoods, scores_unordered, split_choices
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import PrefixTree

IDS = st.integers(20, 5000)


@given(st.lists(st.lists(IDS, min_size=2, max_size=8), min_size=1, max_size=5))
def test_splitting_keeps_every_token(encoded: list[list[int]]) -> None:
    choices = split_choices(encoded)
    assert [[*choices.text, *ids] for ids in choices.continuations] == encoded
    assert all(choices.continuations)


def test_a_context_bounds_what_continuations_share() -> None:
    choices = split_choices([[1, 2, 3, 4], [1, 2, 3, 5]], [1, 2])
    assert choices.text == (1, 2)
    assert choices.continuations == ((3, 4), (3, 5))


def test_a_continuation_is_as_likely_as_its_tokens_together(tiny_model: LanguageModel) -> None:
    items = [Choices((30, 31, 32), ((33,), (34, 35, 36))), Choices((40,), ((41, 42),))]
    for item in choice_scores(PrefixTree(tiny_model), items):
        assert log_likelihoods(item) == pytest.approx(
            [sum(token.log_probability for token in tokens) for tokens in item]
        )


def test_scores_come_as_they_are_there(tiny_model: LanguageModel) -> None:
    shared = tuple(range(100, 160))
    items = [
        Choices((*shared, 30), ((33,),)),
        Choices((40, 41, 42), ((43,), (44,))),
        Choices((*shared, 31), ((33,), (34,))),
    ]
    found = list(scores_unordered(PrefixTree(tiny_model), items, batch_size=2))
    assert [number for number, _ in found] == [0, 2, 1]  # the two that begin alike are read together
    in_order = [scores for _, scores in sorted(found, key=lambda entry: entry[0])]
    for ours, theirs in zip(in_order, choice_scores(PrefixTree(tiny_model), items, batch_size=2), strict=True):
        assert log_likelihoods(ours) == pytest.approx(log_likelihoods(theirs), abs=1e-4)
