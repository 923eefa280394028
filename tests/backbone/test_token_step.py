"""One token of each row, read with all numbers on the device, against the ordinary step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import TinyModel, random_tokens

from gptapps.backbone import attention
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.segment import Segment
from gptapps.backbone.token_step import TokenStep, rotation_tables

TOLERANCE = 1e-4  # of hidden states that are of the order of 1, in float32
NAMES = ("gpt2", "gpt_neo", "gptj", "llama", "gemma3")  # learned positions, windows, both rotations, two rotations


def cache_of(backbone: GPTBackbone, lengths: list[int], prefixes: list[Segment | None]) -> KVCache:
    cache = KVCache(backbone.config)
    rows = cache.add_rows(prefixes)
    backbone(random_tokens(len(lengths), max(lengths)), cache=rows, lengths=lengths)
    return cache


@pytest.mark.parametrize("name", NAMES)
def test_a_step_with_all_numbers_on_the_device_is_the_ordinary_one(name: str, tiny: Callable[[str], TinyModel]) -> None:
    backbone = tiny(name).backbone
    ordinary, ours = (cache_of(backbone, [9, 3, 1], [None] * 3) for _ in range(2))
    for cache in (ordinary, ours):
        cache.reserve(16)
        cache.keys[:, :, :, 9:] = torch.nan  # what was never written is not to be read
        cache.values[:, :, :, 9:] = torch.nan
    tables = rotation_tables(backbone.config, 16, torch.float32, torch.device("cpu"))
    for tokens in random_tokens(3, 5, seed=1).T:
        for row, tail in enumerate(ordinary.tails):  # the ordinary step reads what it masks
            ordinary.keys[:, row, :, tail:] = 0
            ordinary.values[:, row, :, tail:] = 0
        expected = backbone(tokens.unsqueeze(1), cache=ordinary.all_rows()).squeeze(1)
        step = TokenStep(backbone.config, ours, torch.tensor(ours.tails), tables)
        torch.testing.assert_close(backbone.read_tokens(tokens, step), expected, atol=TOLERANCE, rtol=1e-4)
        ours.all_rows().advance([1, 1, 1])


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_behind_prefixes_that_some_rows_share(
    name: str, tiny: Callable[[str], TinyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny(name).backbone
    root = cache_of(backbone, [4], [None]).freeze(0)
    branch = cache_of(backbone, [3], [root]).freeze(0)
    ordinary, ours = (cache_of(backbone, [2, 1, 5, 3], [branch, root, branch, None]) for _ in range(2))
    for tokens in random_tokens(4, 3, seed=2).T:
        states = []
        for on_device, cache in ((False, ordinary), (True, ours)):
            monkeypatch.setattr(attention, "uses_triton", lambda *_, chosen=on_device: chosen)
            states.append(backbone(tokens.unsqueeze(1), cache=cache.all_rows()))
        torch.testing.assert_close(states[1], states[0], atol=TOLERANCE, rtol=1e-4)
