"""Descriptions of what is visible against their definition, query by query and key by key."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gptapps.kernels import Packing, Visibility


def by_definition(visible: Visibility, batch: int, tokens: int, keys: int) -> Tensor:
    out = torch.zeros(batch, tokens, keys, dtype=torch.bool)
    for row, query, key in torch.cartesian_prod(*map(torch.arange, out.shape)).tolist():
        offset = keys - tokens if visible.offsets is None else int(visible.offsets[row])
        place = query + offset
        near = visible.window is None or abs(place - key) < visible.window
        seen = near and (key <= place or not visible.causal)
        if visible.prefix_lengths is not None:
            seen |= key < int(visible.prefix_lengths[row])
        if visible.key_lengths is not None:
            seen &= key < int(visible.key_lengths[row])
        if visible.mask is not None:
            seen &= bool(visible.mask[row if len(visible.mask) > 1 else 0, 0, query, key])
        out[row, query, key] = seen
    return out


@st.composite
def described(draw: st.DrawFn) -> tuple[Visibility, int, int, int]:
    """Draw a description, and B, T and S."""
    batch, tokens, keys = draw(st.integers(1, 2)), draw(st.integers(0, 6)), draw(st.integers(0, 6))

    def lengths(most: int) -> Tensor | None:
        drawn = draw(st.none() | st.lists(st.integers(0, most), min_size=batch, max_size=batch))
        return None if drawn is None else torch.tensor(drawn)

    mask = None
    if draw(st.booleans()):
        generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        mask = torch.rand(draw(st.sampled_from([1, batch])), 1, tokens, keys, generator=generator) < 0.6
    visible = Visibility(
        causal=draw(st.booleans()),
        window=draw(st.none() | st.integers(1, 5)),
        mask=mask,
        key_lengths=lengths(keys),
        prefix_lengths=lengths(keys),
        offsets=lengths(keys),
    )
    return visible, batch, tokens, keys


@given(case=described())
def test_a_description_is_its_definition(case: tuple[Visibility, int, int, int]) -> None:
    visible, batch, tokens, keys = case
    dense = visible.dense(batch, tokens, keys, "cpu")
    assert dense.shape == (batch, 1, tokens, keys)
    assert torch.equal(dense[:, 0], by_definition(*case))


@given(
    texts=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    opening=st.integers(0, 3),
    window=st.none() | st.integers(1, 4),
)
def test_packed_texts_see_the_opening_and_themselves(texts: list[int], opening: int, window: int | None) -> None:
    packing = Packing.of(texts, opening=opening, device="cpu")
    tokens = opening + sum(texts)
    owner = [-1] * opening + [text for text, length in enumerate(texts) for _ in range(length)]
    place = [*range(opening), *(opening + i for length in texts for i in range(length))]
    expected = torch.zeros(tokens, tokens, dtype=torch.bool)
    for query, key in torch.cartesian_prod(torch.arange(tokens), torch.arange(tokens)).tolist():
        own = owner[key] in (-1, owner[query])
        near = window is None or place[query] - place[key] < window
        expected[query, key] = own and near and place[key] <= place[query] and key <= query
    stands = torch.arange(tokens) if packing.keys is None else packing.keys
    dense = packing.visibility(causal=True, window=window).dense(1, tokens, len(stands), "cpu")[0, 0]
    seen = torch.zeros(tokens, tokens, dtype=torch.int64).index_add_(1, stands, dense.long())
    assert torch.equal(seen, expected.long())  # each key once


def test_an_opening_is_never_seen_both_ways() -> None:
    with pytest.raises(ValueError, match="both directions"):
        Packing.of([2, 3], opening=1, device="cpu").visibility(causal=False, window=None)
