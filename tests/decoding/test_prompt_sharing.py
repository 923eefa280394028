"""Generation reads what prompts begin with once, and writes what it would write for each prompt alone."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.backbone.kv_cache import KVCache, bytes_per_token
from gptapps.decoding import prompt_sharing
from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import LEAST_SHARED, PrefixTree, Tokens, shared_length
from gptapps.decoding.prompt_sharing import reading_order
from gptapps.decoding.request import Completion, Request
from gptapps.decoding.sampling import Sampling
from tests.encoded_tokens import counted_tokens
from tests.equality import NEAR_TIE

SHOTS = tuple(range(100, 130))
DOCUMENTS = [tuple(range(start, start + 20)) for start in (400, 500, 600)]
PROMPTS = [(*SHOTS, *document, 200 + question, 7) for document in DOCUMENTS for question in range(4)]

PARTS = st.sampled_from([SHOTS, *DOCUMENTS, tuple(range(700, 710))])
TEXTS = st.builds(
    lambda parts, rest: (*(token for part in parts for token in part), *rest)[:100],
    st.lists(PARTS, max_size=3),
    st.lists(st.integers(20, 23), min_size=1, max_size=6).map(tuple),
)


def alone(model: LanguageModel, request: Request) -> tuple[Completion, ...]:
    """Run a request on an engine of its own, which has read nothing before."""
    return next(Engine(model, batch_size=1).complete([request]))


def first_near_tie(model: LanguageModel, prompt: Tokens, tokens: Tokens) -> int:
    """Return how many of the tokens stand before the first at which rounding may decide."""
    with torch.inference_mode():
        logits = model.logits(model.read([[*prompt, *tokens[:-1]]])[0, len(prompt) - 1 :])
    gaps = logits.topk(2).values.diff(dim=1).abs().squeeze(1)
    return next((place for place, gap in enumerate(gaps.tolist()) if gap < NEAR_TIE), len(tokens))


@given(st.lists(TEXTS, max_size=10))
def test_families_are_read_one_after_the_other(texts: list[Tokens]) -> None:
    order = reading_order(texts)
    assert sorted(number for number, _ in order) == list(range(len(texts)))
    for number, shared in order:
        longest = max(
            (shared_length(texts[number], text) for other, text in enumerate(texts) if other != number), default=0
        )
        assert longest - LEAST_SHARED < shared <= longest
        assert shared == 0 or shared >= LEAST_SHARED
    for beginning in {texts[number][:shared] for number, shared in order if shared}:
        places = [place for place, (number, _) in enumerate(order) if texts[number][: len(beginning)] == beginning]
        assert all(after == before + 1 for before, after in pairwise(places))


def test_prompts_that_share_nothing_come_the_longest_first() -> None:
    texts = [tuple(range(start, start + size)) for start, size in ((100, 5), (200, 30), (300, 30), (400, 12))]
    assert reading_order(texts) == [(1, 0), (2, 0), (3, 0), (0, 0)]


def test_only_prompts_of_a_block_change_places_for_their_length() -> None:
    sizes = (5, 30, 40, 12, 50)
    texts = [tuple(range(100 * place, 100 * place + size)) for place, size in enumerate(sizes)]
    assert [number for number, _ in reading_order(texts, block=2)] == [1, 0, 2, 3, 4]
    assert [number for number, _ in reading_order(texts, block=1)] == [0, 1, 2, 3, 4]
    family = [*texts, texts[0] + tuple(range(900, 930)), (*texts[1], 7)]
    assert [number for number, _ in reading_order(family, block=2)] == [1, 6, 0, 2, 3, 4, 5]


@settings(max_examples=30)
@given(
    st.lists(st.tuples(TEXTS, st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(1, 4),
    st.sampled_from([0, 10**9]),
    st.sampled_from([None, 260, 400]),
)
def test_shared_is_independent(
    tiny_model: LanguageModel, given_: list[tuple[Tokens, int]], batch_size: int, spared: int, room: int | None
) -> None:
    kinds = (
        Request((1,), 6),
        Request((1,), 5, sampling=Sampling(temperature=0.9, top_k=20), seed=3),
        Request((1,), 5, sampling=Sampling(temperature=0.8), seed=5, returns=2),
        Request((1,), 4, beams=2),
    )
    requests = [
        Request(text, kind.max_new_tokens, kind.sampling, seed=kind.seed, returns=kind.returns, beams=kind.beams)
        for text, kind in ((text, kinds[number]) for text, number in given_)
    ]
    bound = None if room is None else room * bytes_per_token(tiny_model.backbone.config, torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_sharing, "_SPARED_TOKENS", spared)  # rows stand behind what they share, or have a copy
        engine = Engine(tiny_model, batch_size=batch_size, max_cache_bytes=bound)
        for _ in range(2):
            for request, found in zip(requests, engine.complete(requests), strict=True):
                for ours, theirs in zip(found, alone(tiny_model, request), strict=True):
                    if ours.tokens != theirs.tokens:
                        sure = first_near_tie(tiny_model, request.tokens, theirs.tokens)
                        assert request.beams > 1 or ours.tokens[:sure] == theirs.tokens[:sure]
                    else:
                        assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("spared", [0, 10**9])
def test_three_levels_of_sharing(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch, batch_size: int, spared: int
) -> None:
    monkeypatch.setattr(prompt_sharing, "_SPARED_TOKENS", spared)
    engine = Engine(tiny_model, batch_size=batch_size)
    with counted_tokens() as read:
        list(engine.complete([Request(prompt, 1) for prompt in PROMPTS]))
    assert sum(read) <= len(SHOTS) + 3 * 20 + 12 * 2 + (batch_size == 1) * LEAST_SHARED
    with counted_tokens() as read:
        list(engine.complete([Request((*SHOTS, 300 + number, 8), 1) for number in range(3)]))
    assert sum(read) == 3 * 2  # the examples were read by the call before


def test_single_calls_read_the_examples_once(tiny_model: LanguageModel) -> None:
    engine = Engine(tiny_model)
    with counted_tokens() as read:
        for prompt in PROMPTS:
            assert list(engine.stream(Request(prompt, 1)))
    assert sum(read) == len(SHOTS) + 3 * 20 + 12 * 2


def test_beams_read_the_examples_once(tiny_model: LanguageModel) -> None:
    requests = [Request((*SHOTS, 200 + number), 1, beams=2) for number in range(4)]
    with counted_tokens() as read:
        list(Engine(tiny_model).complete(requests))
    assert sum(read) == len(SHOTS) + 4


def test_a_few_tokens_in_common_are_read_with_each_prompt(tiny_model: LanguageModel) -> None:
    prompts = [(1, 2, 3, 300 + number, 8) for number in range(4)]
    with counted_tokens() as read:
        list(Engine(tiny_model).complete([Request(prompt, 1) for prompt in prompts]))
    assert read == [4 * 5]


@pytest.mark.parametrize("room", [100, 150, 220, 400])
def test_the_bound_covers_rows_and_what_they_share(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    trees: list[PrefixTree] = []
    peaks = []
    make, grow = PrefixTree.__init__, KVCache._reserve

    def made(self: PrefixTree, *given: object, **options: object) -> None:
        make(self, *given, **options)  # type: ignore[arg-type]
        trees.append(self)

    def grown(self: KVCache, rows: int, slots: int) -> None:
        grow(self, rows, slots)
        peaks.append(self.bytes + sum(tree.bytes for tree in trees))

    bound = room * bytes_per_token(tiny_model.backbone.config, torch.float32)
    requests = [Request(prompt, 8) for prompt in PROMPTS]
    free = [one.tokens for (one,) in Engine(tiny_model, batch_size=4).complete(requests)]
    monkeypatch.setattr(PrefixTree, "__init__", made)
    monkeypatch.setattr(KVCache, "_reserve", grown)
    engine = Engine(tiny_model, batch_size=4, max_cache_bytes=bound)
    assert [one.tokens for (one,) in engine.complete(requests)] == free
    assert 0 < max(peaks) <= bound


def test_what_rows_stood_behind_is_let_go(tiny_model: LanguageModel) -> None:
    engine = Engine(tiny_model, batch_size=2)
    stream = engine.complete([Request(prompt, 4) for prompt in PROMPTS])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    with engine.trees.borrow() as tree:
        assert tree.bytes > 0
        tree.release()
        assert tree.bytes == 0


def test_changed_weights_are_read_anew(tiny_model: LanguageModel) -> None:
    engine = Engine(tiny_model)
    weight = next(tiny_model.backbone.parameters())
    before = weight.detach().clone()
    request = Request(PROMPTS[0], 6)
    first = next(engine.complete([request]))[0].tokens
    try:
        with torch.no_grad():
            weight.mul_(-0.7)
        with counted_tokens() as read:
            changed = next(engine.complete([request]))[0]
        assert read[0] == len(PROMPTS[0])
        assert changed.tokens == alone(tiny_model, request)[0].tokens
    finally:
        with torch.no_grad():
            weight.copy_(before)
    assert next(engine.complete([request]))[0].tokens == first


def test_threads_don_t_wait_for_each_other_s_tree(tiny_model: LanguageModel) -> None:
    engine = Engine(tiny_model, batch_size=2)
    expected = [alone(tiny_model, Request(prompt, 5))[0].tokens for prompt in PROMPTS]
    found: dict[int, Tokens] = {}

    def work(place: int) -> None:
        for number in range(place, len(PROMPTS), 4):
            found[number] = next(engine.complete([Request(PROMPTS[number], 5)]))[0].tokens

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(PROMPTS))] == expected
