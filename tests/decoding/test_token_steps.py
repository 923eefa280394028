"""Steps of one token that stay on the device, and when they are captured, against the ordinary step."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gptapps.decoding import token_steps
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.token_steps import TokenSteps


class Recorded:
    """Stands in for a CUDA graph: runs the step again, on the inputs it was captured with."""

    made: list[int]
    pools: list[object]

    def __init__(self, step: Callable[[Tensor], Tensor], inputs: Tensor, pool: object) -> None:
        self.step, self.inputs, self.replays = step, inputs, 0
        self.made.append(inputs.shape[1])
        self.pools.append(pool)

    def __call__(self, inputs: Tensor) -> Tensor:
        self.inputs.copy_(inputs)
        return self.step(self.inputs)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each graph was made for, on a device that seems to have graphs."""
    monkeypatch.setattr(token_steps, "uses_triton", lambda *_: True)
    monkeypatch.setattr(token_steps, "CapturedStep", Recorded)
    monkeypatch.setattr(TokenSteps, "_captures", lambda *_: True)
    handles = itertools.count()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    Recorded.made, Recorded.pools = [], []
    return Recorded.made


class Pair:
    """The same texts in two caches, one read by ordinary steps and one by what is tested."""

    def __init__(self, model: LanguageModel, words: random.Random) -> None:
        self.model, self.words = model, words
        self.caches = model.new_cache(), model.new_cache()
        self.steps = TokenSteps(model, self.caches[1])

    def enter(self, *lengths: int) -> None:
        prompts = [[self.words.randrange(20, 5000) for _ in range(length)] for length in lengths]
        for cache in self.caches:
            self.model.next_token_logits(prompts, cache.add_rows(len(prompts)))

    def leave(self, row: int) -> None:
        for cache in self.caches:
            cache.remove_row(row)

    def step(self) -> None:
        ordinary, ours = self.caches
        tokens = [self.words.randrange(20, 5000) for _ in range(ordinary.rows)]
        expected = self.model.next_token_logits([[token] for token in tokens], ordinary.all_rows())
        torch.testing.assert_close(self.steps.logits(tokens), expected, atol=1e-3, rtol=1e-4)
        assert ours.tails == ordinary.tails


@torch.inference_mode()
def test_while_rows_enter_and_leave_and_the_cache_grows(
    tiny_model: LanguageModel, words: random.Random, captured: list[int]
) -> None:
    pair = Pair(tiny_model, words)
    pair.enter(5, 2, 9)
    for _ in range(3):
        pair.step()
    pair.leave(0)
    for _ in range(3):
        pair.step()
    pair.enter(4, 1)
    for _ in range(3):
        pair.step()
    assert captured == [3, 2, 4]  # three rows are all there were, and four again are all there are
    pair.leave(1)
    pair.step()
    assert captured == [3, 2, 4]  # three rows take the graph of four
    assert Recorded.pools == [0, 0, 1]  # the third graph came after the cache grew, which ended the pool of the others


@torch.inference_mode()
def test_growth_ends_the_graphs_and_is_rare(
    tiny_model: LanguageModel, words: random.Random, captured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_steps, "_LEAST_SLOTS", 8)
    pair = Pair(tiny_model, words)
    pair.enter(3)
    for _ in range(40):
        pair.step()
    assert captured == [1, 1, 1, 1]  # with 8, 18, 38 and 78 slots


@torch.inference_mode()
def test_a_bounded_cache_grows_by_what_there_is(tiny_model: LanguageModel, captured: list[int]) -> None:
    cache = tiny_model.new_cache(max_bytes=2 * 2 * 2 * 8 * 4 * 20)  # 20 tokens
    tiny_model.next_token_logits([[30] * 16], cache.add_rows(1))
    steps = TokenSteps(tiny_model, cache)
    for _ in range(4):
        steps.logits([40])
    assert cache.keys.shape[3] <= 20
    assert cache.tails == [20]


@torch.inference_mode()
def test_rows_behind_shared_prefixes(tiny_model: LanguageModel, words: random.Random, captured: list[int]) -> None:
    pair = Pair(tiny_model, words)
    pair.enter(7, 5)
    for cache in pair.caches:
        first, second = cache.freeze(0), cache.freeze(1)
        cache.adopt(0, first)
        cache.add_rows([first, None, second])
        for segment in (first, second):
            segment.release()
    for _ in range(3):
        pair.step()
    assert captured == [5]  # every row there is memory for
    pair.leave(4)  # the only one behind the second prefix
    for _ in range(3):
        pair.step()
    assert captured == [5, 4]


@torch.inference_mode()
def test_the_reference_takes_the_ordinary_step(tiny_model: LanguageModel, words: random.Random) -> None:
    pair = Pair(tiny_model, words)
    pair.enter(4, 6)
    pair.step()
    ordinary, ours = pair.caches
    assert ours.bytes == ordinary.bytes
