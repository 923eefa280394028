"""Packed texts read as each would alone, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import CASES, TOKENS, TinyModel, random_tokens

from gptapps.backbone.packed_texts import can_share_opening

TOLERANCE = 1e-4
LENGTHS = (TOKENS, 3, 11, 1)


@pytest.mark.parametrize("name", CASES)
def test_packed_texts_are_read_as_if_alone(name: str, tiny: Callable[[str], TinyModel]) -> None:
    backbone = tiny(name).backbone
    texts = [random_tokens(length, seed=length) for length in LENGTHS]
    packed = backbone.read_packed(torch.cat(texts), LENGTHS)
    alone = torch.cat([backbone(text.unsqueeze(0)).squeeze(0) for text in texts])
    torch.testing.assert_close(packed, alone, atol=TOLERANCE, rtol=0)


BY_LENGTH = ("llama-dynamic", "llama-longrope")
"""Cases in which a token's rotation depends on how long its text is."""


@pytest.mark.parametrize("name", BY_LENGTH)
def test_where_the_length_counts_nothing_is_shared(name: str, tiny: Callable[[str], TinyModel]) -> None:
    assert not can_share_opening(tiny(name).backbone.config)


@pytest.mark.parametrize("name", [name for name in CASES if name not in BY_LENGTH])
def test_what_texts_begin_with_is_read_once(name: str, tiny: Callable[[str], TinyModel]) -> None:
    backbone = tiny(name).backbone
    assert can_share_opening(backbone.config)
    opening, *rests = random_tokens(9), *(random_tokens(length, seed=length) for length in LENGTHS[1:])
    packed = backbone.read_packed(torch.cat((opening, *rests)), LENGTHS[1:], opening=9)
    alone = [backbone(torch.cat((opening, rest)).unsqueeze(0)).squeeze(0) for rest in rests]
    expected = torch.cat((alone[0][:9], *(states[9:] for states in alone)))
    torch.testing.assert_close(packed, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["mistral", "gpt2", "gemma3"])
def test_gradients_of_packed_texts_are_those_of_texts_alone(name: str, tiny: Callable[[str], TinyModel]) -> None:
    backbone = tiny(name).backbone
    texts = [random_tokens(length, seed=length) for length in LENGTHS]
    with torch.enable_grad():
        packed = torch.autograd.grad(
            backbone.read_packed(torch.cat(texts), LENGTHS).square().sum(), backbone.parameters()
        )
        alone = [
            torch.autograd.grad(backbone(text.unsqueeze(0)).square().sum(), backbone.parameters()) for text in texts
        ]
    for together, *parts in zip(packed, *alone, strict=True):
        torch.testing.assert_close(together, sum(parts), atol=1e-3, rtol=1e-4)
