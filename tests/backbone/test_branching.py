"""Texts that branch in one row are read as if each stood alone, in every family."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import CASES, TinyModel, random_tokens

from gptapps.backbone.branching import Branching
from gptapps.backbone.kv_cache import KVCache
from gptapps.errors import InputTooLongError


@pytest.mark.parametrize("name", CASES)
def test_branches_are_read_as_if_alone(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    backbone, length = model.backbone, model.stable_length
    past, shared, first, second = (int(length * part) for part in (0.4, 0.2, 0.4, 0.3))
    tokens = random_tokens(1, past + shared + first + second)[0]
    before, new = tokens[:past], tokens[past:]
    rows = KVCache(backbone.config)
    backbone(before.unsqueeze(0), cache=rows.add_rows(1))
    segment = rows.freeze(0)

    visible = torch.zeros(len(new), past + len(new), dtype=torch.bool)
    visible[:, : past + shared] = True
    visible[:, past:] |= torch.eye(len(new), dtype=torch.bool)
    for begin, end in ((0, shared + first), (shared + first, len(new))):
        visible[begin:end, past + begin : past + end] = True
    visible[:, past:] &= torch.ones(len(new), len(new), dtype=torch.bool).tril()
    positions = torch.cat(
        (torch.arange(past, past + shared + first), torch.arange(past + shared, past + shared + second))
    )
    branching = Branching(positions, visible, [(segment.keys, segment.values)], torch.arange(past))
    cache = KVCache(backbone.config)
    states = backbone.read_branched(new, branching, cache=cache.add_rows(1))

    one, other = new[: shared + first], torch.cat((new[:shared], new[shared + first :]))
    for text, own in ((one, states[: shared + first]), (other, torch.cat((states[:shared], states[shared + first :])))):
        alone = backbone(torch.cat((before, text)).unsqueeze(0))[0, past:]
        torch.testing.assert_close(own, alone, atol=1e-4, rtol=1e-4)
    plain = KVCache(backbone.config)
    backbone(torch.cat((before, one)).unsqueeze(0), cache=plain.add_rows(1))
    assert cache.length(0) == len(new)
    torch.testing.assert_close(
        cache.keys[:, 0, :, : len(one)], plain.keys[:, 0, :, past : past + len(one)], atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(backbone.read_branched(new, branching), states)


def test_a_branch_past_the_context_is_refused(tiny: Callable[[str], TinyModel]) -> None:
    backbone = tiny("llama").backbone
    context = backbone.config.context_length
    branching = Branching(torch.tensor([context]), torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(InputTooLongError, match=str(context)):
        backbone.read_branched(torch.tensor([5]), branching)
