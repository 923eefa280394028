"""Features of hidden states: those of transformers' layers, and never anything of the padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_language_model import write_tiny_model
from transformers import AutoModelForCausalLM

from gptapps.decoding.features import length_batches, read_features
from gptapps.decoding.language_model import LanguageModel
from gptapps.heads.features import Features, pool
from gptapps.heads.span import SpanHead


def test_the_layers_are_those_of_transformers(
    tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel
) -> None:
    folder = write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer)
    model, theirs = LanguageModel.load(str(folder)), AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[5, 9, 33, 7, 120]])
    with torch.inference_mode():
        expected = theirs(ids, output_hidden_states=True).hidden_states
        found = dict(model.backbone.layer_states(ids, [0, 1, 2]))
    assert list(found) == [0, 1, 2]
    for layer, states in found.items():
        torch.testing.assert_close(states, expected[layer], atol=1e-5, rtol=1e-5)


def test_nothing_above_the_highest_layer_is_computed(
    default_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a layer that nobody asked for")

    for block in default_model.backbone.blocks[4:]:
        monkeypatch.setattr(block, "forward", refuse)
    assert read_features(default_model, [(1, 2, 3)], Features((2, 4), ("last", "mean"))).shape == (1, 4 * 576)


def test_a_text_has_the_same_features_alone_and_in_a_batch(default_model: LanguageModel) -> None:
    texts = [
        default_model.tokenizer.encode(text) for text in ("Fog.", "The ferry was late again, as every autumn.", "No")
    ]
    features = Features((3,), ("last", "mean"))
    together = read_features(default_model, texts, features)
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(row, read_features(default_model, [text], features)[0], atol=2e-4, rtol=1e-4)


def test_poolings_leave_padding_and_the_first_token_out() -> None:
    states = torch.tensor([[[9.0], [1.0], [3.0], [100.0]], [[7.0], [100.0], [100.0], [100.0]]])
    assert pool(states, [3, 1], "mean").tolist() == [[2.0], [7.0]]
    assert pool(states, [3, 1], "last").tolist() == [[3.0], [7.0]]


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_batches_hold_every_text_once_and_no_more_than_they_may(lengths: list[int], most: int) -> None:
    batches = list(length_batches(lengths, padded_tokens=most))
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[number] for number in batch) <= most


def test_a_span_never_ends_before_it_begins_nor_grows_too_long() -> None:
    head = SpanHead(torch.eye(2), torch.zeros(2), Features((1,), ("last",)))
    begins, ends = torch.tensor([0.0, 1.0, 5.0, 0.0]), torch.tensor([9.0, 0.0, 1.0, 2.0])
    scores, places = head.spans(torch.stack([begins, ends], 1), longest=2)
    assert scores.tolist() == [9.0, 2.0, 7.0, 2.0]
    assert places.tolist() == [0, 2, 3, 3]
