"""Laws: however a text is cut, cached, shared, padded or moved about, its hidden states stay the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CASES, TinyModel, random_tokens
from torch import Tensor

from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.segment import Segment

TOLERANCE = 1e-4  # of hidden states that are of the order of 1, in float32


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=1e-4)


def alone(backbone: GPTBackbone, tokens: Tensor) -> Tensor:
    return backbone(tokens.unsqueeze(0))[0]


def segment_of(backbone: GPTBackbone, tokens: Tensor, before: Segment | None = None) -> Segment:
    cache = KVCache(backbone.config)
    backbone(tokens.unsqueeze(0), cache=cache.add_rows([before]))
    segment = cache.freeze(0)
    cache.release()
    return segment


def padded(texts: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    lengths = [len(text) for text in texts]
    batch = torch.full((len(texts), max(lengths)), 7)
    for row, text in zip(batch, texts, strict=True):
        row[: len(text)] = text
    return batch, lengths


@pytest.mark.parametrize("name", CASES)
def test_token_by_token(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    tokens = random_tokens(2, model.stable_length)
    rows = KVCache(model.backbone.config).add_rows(2)
    states = [model.backbone(tokens[:, i : i + 1], cache=rows) for i in range(tokens.shape[1])]
    close(torch.cat(states, 1), model.backbone(tokens))


@pytest.mark.parametrize("name", CASES)
def test_in_pieces_of_any_length(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    tokens = random_tokens(2, model.stable_length, seed=1)
    rows = KVCache(model.backbone.config).add_rows(2)
    states = [model.backbone(piece, cache=rows) for piece in tokens.split((7, 1, 6, tokens.shape[1] - 14), 1)]
    close(torch.cat(states, 1), model.backbone(tokens))


@pytest.mark.parametrize("name", CASES)
def test_behind_prefixes_that_differ_from_row_to_row(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    backbone, length = model.backbone, model.stable_length
    tokens = random_tokens(length, seed=2)
    other = random_tokens(length, seed=3)
    first = segment_of(backbone, tokens[:8])  # longer than every window
    second = segment_of(backbone, tokens[8:11], first)
    strange = segment_of(backbone, other[:2])
    cache = KVCache(backbone.config)
    rows = cache.add_rows([first, second, strange, None])
    texts = [tokens[8:], tokens[11:], other[2:], other]
    batch, lengths = padded(texts)
    states = backbone(batch, cache=rows, lengths=lengths)
    for row, whole in enumerate((tokens, tokens, other, other)):
        close(states[row, : lengths[row]], alone(backbone, whole)[-lengths[row] :])


@pytest.mark.parametrize("name", CASES)
def test_all_rows_behind_one_prefix_then_step_by_step(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    prefix, tails = random_tokens(8, seed=4), random_tokens(3, 8, seed=5)
    rows = KVCache(model.backbone.config).add_rows([segment_of(model.backbone, prefix)] * 3)
    states = [model.backbone(piece, cache=rows) for piece in tails.split((5, 1, 2), 1)]
    whole = torch.cat((prefix.expand(3, -1), tails), 1)
    close(torch.cat(states, 1), model.backbone(whole)[:, 8:])


@pytest.mark.parametrize("name", CASES)
def test_rows_of_unequal_length_go_on_together(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    texts = [random_tokens(n, seed=n) for n in (4, 13, 7)]
    rows = KVCache(model.backbone.config).add_rows(3)
    batch, lengths = padded(texts)
    model.backbone(batch, cache=rows, lengths=lengths)
    for step in range(3):
        new = random_tokens(3, 1, seed=20 + step)
        states = model.backbone(new, cache=rows)
        texts = [torch.cat((text, token)) for text, token in zip(texts, new, strict=True)]
        for row, text in enumerate(texts):
            close(states[row, -1], alone(model.backbone, text)[-1])


@pytest.mark.parametrize("name", CASES)
def test_only_a_part_of_the_rows_is_extended(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    cache = KVCache(model.backbone.config)
    early, late = random_tokens(2, 6, seed=6), random_tokens(1, 10, seed=7)
    model.backbone(early, cache=cache.add_rows(2))
    late_rows = cache.add_rows(1)
    model.backbone(late[:, :9], cache=late_rows)
    close(model.backbone(late[:, 9:], cache=late_rows)[0, -1], alone(model.backbone, late[0])[-1])
    more = random_tokens(3, 1, seed=8)
    states = model.backbone(more, cache=cache.all_rows())
    for row, text in enumerate((*early, *late)):
        close(states[row, -1], alone(model.backbone, torch.cat((text, more[row])))[-1])


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 10_000)),
        st.tuples(st.just("add"), st.booleans()),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("reorder"), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
        st.tuples(st.just("truncate"), st.integers(0, 9)),
        st.tuples(st.just("adopt"), st.integers(0, 9)),
    ),
    min_size=2,
    max_size=9,
)


@settings(max_examples=60)
@given(operations=OPERATIONS)
@pytest.mark.parametrize("name", ["gpt2", "mistral", "gemma3"])
def test_any_sequence_of_operations(name: str, operations: list, tiny: Callable[[str], TinyModel]) -> None:
    backbone = tiny(name).backbone
    prefix_tokens = random_tokens(6, seed=9)
    prefix = segment_of(backbone, prefix_tokens)
    cache = KVCache(backbone.config)
    cache.add_rows([prefix, None])
    texts = [prefix_tokens, prefix_tokens[:0]]
    for operation, argument in operations:
        if operation == "read":
            lengths = [1 + (argument + row) % 3 for row in range(len(texts))]
            new = [random_tokens(length, seed=argument + row) for row, length in enumerate(lengths)]
            texts = [torch.cat(pair) for pair in zip(texts, new, strict=True)]
            batch, lengths = padded(new)
            states = backbone(batch, cache=cache.all_rows(), lengths=lengths)
            for row, text in enumerate(texts):
                close(states[row, : lengths[row]], alone(backbone, text)[-lengths[row] :])
        elif operation == "add":
            cache.add_rows([prefix if argument else None])
            texts.append(prefix_tokens if argument else prefix_tokens[:0])
        elif operation == "remove" and len(texts) > 1:
            row = argument % len(texts)
            cache.remove_row(row)
            texts[row] = texts[-1]
            texts.pop()
        elif operation == "reorder":
            sources = [source % len(texts) for source in argument]
            cache.reorder(sources)
            texts = [texts[source] for source in sources]
        elif operation == "truncate":
            row = argument % len(texts)
            length = len(texts[row]) - cache.tails[row] // 2
            cache.truncate(row, length)
            texts[row] = texts[row][:length]
        elif operation == "adopt":
            row = argument % len(texts)
            segment = cache.freeze(row)
            cache.adopt(row, segment)
            segment.release()
        assert [cache.length(row) for row in range(cache.rows)] == [len(text) for text in texts]
