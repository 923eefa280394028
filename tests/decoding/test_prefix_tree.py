"""Reading many sequences through the tree is reading each alone, with every shared token encoded once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import PrefixTree
from gptapps.errors import ResourceError

IDS = st.integers(20, 23)  # few ids, so that sequences share beginnings of every length
SEQUENCES = st.lists(st.lists(IDS, min_size=1, max_size=12).map(tuple), min_size=1, max_size=10)


def alone(model: LanguageModel, sequence: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        return model.read([sequence])[0]


def distinct_prefixes(sequences: list[tuple[int, ...]]) -> int:
    return len({sequence[: place + 1] for sequence in sequences for place in range(len(sequence))})


@settings(max_examples=40)
@given(st.lists(SEQUENCES, min_size=1, max_size=3), st.data())
def test_shared_is_independent(
    tiny_model: LanguageModel, calls: list[list[tuple[int, ...]]], data: st.DataObject
) -> None:
    tree = PrefixTree(tiny_model)
    for sequences in calls:
        starts = [data.draw(st.integers(0, len(sequence) - 1)) for sequence in sequences]
        for sequence, start, hidden in zip(sequences, starts, tree.read(sequences, starts), strict=True):
            torch.testing.assert_close(hidden, alone(tiny_model, sequence)[start:], atol=2e-4, rtol=1e-4)


@given(SEQUENCES)
def test_every_token_is_encoded_once(tiny_model: LanguageModel, sequences: list[tuple[int, ...]]) -> None:
    tree = PrefixTree(tiny_model)
    tree.read(sequences, [0] * len(sequences))
    assert tree.encoded_tokens == distinct_prefixes(sequences)


def test_three_levels_of_sharing_across_calls(tiny_model: LanguageModel) -> None:
    shots = tuple(range(100, 140))
    questions = [tuple(range(200 + 10 * number, 206 + 10 * number)) for number in range(6)]
    choices = [(300, 301), (300, 302), (310,), (320, 321, 322)]
    tree = PrefixTree(tiny_model)
    for half in (questions[:3], questions[3:]):
        sequences = [(*shots, *question, *choice) for question in half for choice in choices]
        tree.read(sequences, [len(shots)] * len(sequences))
    assert tree.encoded_tokens == len(shots) + 6 * 6 + 6 * 7  # choices: 300 once, 301, 302, 310, 320, 321, 322


@settings(max_examples=20)
@given(st.lists(SEQUENCES, min_size=1, max_size=3), st.integers(12, 30))
def test_the_memory_bound_holds_and_changes_nothing(
    tiny_model: LanguageModel, calls: list[list[tuple[int, ...]]], tokens: int
) -> None:
    per_token = PrefixTree(tiny_model)._token_bytes
    tree = PrefixTree(tiny_model, max_bytes=tokens * per_token)
    for sequences in calls:
        for sequence, hidden in zip(sequences, tree.read(sequences, [0] * len(sequences)), strict=True):
            torch.testing.assert_close(hidden, alone(tiny_model, sequence), atol=2e-4, rtol=1e-4)
        assert tree.bytes <= tokens * per_token
    tree.release()
    assert tree.bytes == 0


def test_a_sequence_beyond_the_bound_is_refused(tiny_model: LanguageModel) -> None:
    with pytest.raises(ResourceError, match="40 tokens"):
        PrefixTree(tiny_model, max_bytes=1000).read([tuple(range(20, 60))], [0])
