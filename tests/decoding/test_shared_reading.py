"""Scores that share what texts begin with are those of texts read alone, with every shared token read once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.rotary import DynamicScaling, RotaryConfig
from gptapps.decoding import shared_reading
from gptapps.decoding.choice_scoring import Choices, choice_scores
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import PrefixTree
from gptapps.decoding.shared_reading import TokenScore, read_scores
from gptapps.errors import DataError, InputTooLongError, ResourceError
from tests.encoded_tokens import counted_tokens

IDS = st.integers(20, 22)  # few ids, so that texts share beginnings of every length
TEXT = st.lists(IDS, min_size=1, max_size=30).map(tuple)
ITEMS = st.lists(
    st.builds(
        Choices,
        TEXT,
        st.lists(st.lists(IDS, min_size=1, max_size=6).map(tuple), min_size=1, max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=6,
)


def alone(model: LanguageModel, item: Choices) -> list[list[TokenScore]]:
    """Read every continuation by itself, without a cache."""
    scores = []
    for ids in item.continuations:
        whole = [*item.text, *ids]
        with torch.inference_mode():
            logits = model.logits(model.read([whole[:-1]])[0, len(item.text) - 1 :])
        likely = logits.log_softmax(-1)
        scores.append(
            [
                TokenScore(float(likely[place, token]), int(logits[place].argmax()) == token)
                for place, token in enumerate(ids)
            ]
        )
    return scores


def assert_equal(model: LanguageModel, items: list[Choices], found: list[Any]) -> None:
    for item, scores in zip(items, found, strict=True):
        for ours, theirs in zip(scores, alone(model, item), strict=True):
            for our, their in zip(ours, theirs, strict=True):
                assert our.log_probability == pytest.approx(their.log_probability, abs=1e-4)
                assert our.likeliest == their.likeliest


@settings(max_examples=40)
@given(st.lists(ITEMS, min_size=1, max_size=3), st.sampled_from([1, 4]), st.sampled_from([5, 16, 512]))
def test_shared_is_independent(
    tiny_model: LanguageModel, calls: list[list[Choices]], least_shared: int, most: int
) -> None:
    tree = PrefixTree(tiny_model, least_shared=least_shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_reading, "pass_tokens", lambda backbone: most)
        for items in calls:
            assert_equal(tiny_model, items, read_scores(tree, items))


@given(ITEMS)
def test_every_token_is_encoded_once(tiny_model: LanguageModel, items: list[Choices]) -> None:
    tree = PrefixTree(tiny_model)
    read_scores(tree, items)
    read = {
        (*item.text, *ids)[:end]
        for item in items
        for ids in item.continuations
        for end in range(1, len(item.text) + len(ids))
    }
    assert tree.encoded_tokens == len(read)


def test_three_levels_of_sharing_across_batches(tiny_model: LanguageModel) -> None:
    shots = tuple(range(100, 140))
    questions = [tuple(range(200 + 10 * number, 206 + 10 * number)) for number in range(6)]
    choices = ((300, 301), (300, 302), (310, 311), (320, 321, 322))
    items = [Choices((*shots, *question), choices) for question in questions]
    with counted_tokens() as read:
        found = list(choice_scores(PrefixTree(tiny_model), items, batch_size=3))
    assert_equal(tiny_model, items, found)
    # Of the choices 300, 310, 320 and 321 are read: nothing follows their last tokens.
    assert read == [len(shots) + 3 * (6 + 4), 3 * (6 + 4)]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_examples_are_read_once_whatever_the_batch(tiny_model: LanguageModel, batch_size: int) -> None:
    shots = tuple(range(100, 140))
    items = [Choices((*shots, 200 + number, 7), ((300,), (301,))) for number in range(5)]
    tree = PrefixTree(tiny_model)
    with counted_tokens() as read:
        found = list(choice_scores(tree, items, batch_size=batch_size))
        found += choice_scores(tree, items, batch_size=batch_size)  # a later call
    assert_equal(tiny_model, items * 2, found)
    assert sum(read) <= len(shots) + 2 * 5 * 2


def test_documents_between_examples_and_questions_are_read_once(tiny_model: LanguageModel) -> None:
    shots = tuple(range(100, 130))
    documents = [tuple(range(start, start + 25)) for start in (600, 500, 400)]
    items = [
        Choices((*shots, *document, 200 + question, 7), ((300,),)) for document in documents for question in range(4)
    ]
    for batch_size in (1, 3, 5, 8):
        with counted_tokens() as read:
            found = list(choice_scores(PrefixTree(tiny_model), items, batch_size=batch_size))
        assert_equal(tiny_model, items, found)
        assert sum(read) == len(shots) + 3 * 25 + 12 * 2


@settings(max_examples=25)
@given(st.lists(ITEMS, min_size=1, max_size=3), st.integers(60, 90))
def test_the_memory_bound_holds_and_changes_nothing(
    tiny_model: LanguageModel, calls: list[list[Choices]], room: int
) -> None:
    tree = PrefixTree(tiny_model, max_bytes=room * PrefixTree(tiny_model).token_bytes, least_shared=1)
    for items in calls:
        assert_equal(tiny_model, items, read_scores(tree, items))
        assert tree.bytes <= tree.max_bytes
    tree.release()
    assert tree.bytes == 0


def test_an_item_beyond_the_bound_is_refused(tiny_model: LanguageModel) -> None:
    with pytest.raises(ResourceError, match="42 tokens"):
        read_scores(PrefixTree(tiny_model, max_bytes=1000), [Choices(tuple(range(20, 60)), ((1,), (2,)))])


def test_an_item_beyond_the_context_comes_after_those_before_it(tiny_model: LanguageModel) -> None:
    items = [Choices((30,) * 127, ((1, 2), (3,))), Choices((30,) * 127, ((1, 2, 3),))]
    scored = choice_scores(PrefixTree(tiny_model), items)
    assert len(next(scored)) == 2
    with pytest.raises(InputTooLongError, match="130 tokens"):
        next(scored)


def test_an_item_is_yielded_when_its_pass_is_done(tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptapps.decoding.choice_scoring.pass_tokens", lambda backbone: 100)
    items = [Choices((30 + length,) * length, ((1,),)) for length in (10, 20, 110, 11, 12)]
    with counted_tokens() as read:
        scored = choice_scores(PrefixTree(tiny_model), items, batch_size=8)
        next(scored)
        assert sum(read) == 10 + 20  # the long text wasn't read with the two before it
        next(scored)
        next(scored)
        assert sum(read) == 10 + 20 + 110
        assert len(list(scored)) == 2


def test_documents_that_take_turns_are_read_once(tiny_model: LanguageModel) -> None:
    shots = tuple(range(100, 130))
    documents = [tuple(range(start, start + 25)) for start in range(600, 900, 30)]
    items = [
        Choices((*shots, *document, 200 + question, 7), ((300,),)) for question in range(4) for document in documents
    ]
    tree = PrefixTree(tiny_model, max_bytes=120 * PrefixTree(tiny_model).token_bytes)  # not a place for all of them
    for batch_size in (5, 8):
        tree.release()
        with counted_tokens() as read:
            found = list(choice_scores(tree, items, batch_size=batch_size))
        assert_equal(tiny_model, items, found)
        assert sum(read) == len(shots) + len(documents) * 25 + len(items) * 2


def test_batches_stay_full_behind_a_long_beginning(tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptapps.decoding.choice_scoring.pass_tokens", lambda backbone: 50)
    shots = tuple(range(100, 140))
    items = [Choices((*shots, 200 + number, 7, 8, 9), ((300,),)) for number in range(20)]
    with counted_tokens() as read:
        list(choice_scores(PrefixTree(tiny_model), items, batch_size=8))
    assert len(read) <= 1 + 3  # the first batch is cut short by the beginning, and no other
    assert sum(read) == len(shots) + len(items) * 4


def test_an_error_of_the_source_comes_after_all_that_was_before_it(tiny_model: LanguageModel) -> None:
    def items() -> Iterator[Choices]:
        for number in range(20):
            yield Choices((30 + number % 3,) * 20 + (60 + number,), ((1,),))
        raise DataError("Row 21 can't be read.")

    scored = choice_scores(PrefixTree(tiny_model), items(), batch_size=2)
    assert len([next(scored) for _ in range(20)]) == 20
    with pytest.raises(DataError, match="Row 21"):
        next(scored)


def test_positions_that_depend_on_the_length_share_nothing_beyond_it(tiny_model: LanguageModel) -> None:
    scaling = DynamicScaling(factor=2.0, original_context=20)
    config = replace(tiny_model.backbone.config, rotary=RotaryConfig(base=10000.0, size=8, scaling=scaling))
    backbone = GPTBackbone(config)
    backbone.load_state_dict(tiny_model.backbone.state_dict())
    model = replace(tiny_model, backbone=backbone.eval())
    items = [Choices((30, 31, 32) * length, ((33, 34, 35), (36,))) for length in (3, 5, 7, 12)]
    found = [scores for _ in range(2) for scores in read_scores(PrefixTree(model, least_shared=1), items)]
    assert_equal(model, items * 2, found)
