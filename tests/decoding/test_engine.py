"""The engine: batches change nothing, memory stays within bounds, text streams whole, seeds reproduce."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.backbone.kv_cache import bytes_per_token
from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.request import Completion, FinishReason, Request
from gptapps.decoding.sampling import Sampling
from gptapps.errors import InputTooLongError, OptionError, ResourceError
from tests.equality import assert_same_tokens

PROMPTS = st.lists(st.lists(st.integers(20, 5000), min_size=1, max_size=40).map(tuple), min_size=1, max_size=7)


def alone(model: LanguageModel, request: Request) -> tuple[Completion, ...]:
    return next(Engine(model, batch_size=1).complete([request]))


def logits_before(model: LanguageModel, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> torch.Tensor:
    """Return what the model, without a cache, sees before each of ``tokens``."""
    with torch.inference_mode():
        hidden = model.read([[*prompt, *tokens[:-1]]])
        return model.logits(hidden[0, len(prompt) - 1 :])


@settings(max_examples=20)
@given(PROMPTS, st.integers(1, 4), st.integers(1, 12))
def test_a_text_does_not_depend_on_what_else_is_in_the_batch(
    tiny_model: LanguageModel, prompts: list[tuple[int, ...]], batch_size: int, new: int
) -> None:
    requests = [Request(prompt, max_new_tokens=1 + (new + place) % 12) for place, prompt in enumerate(prompts)]
    together = list(Engine(tiny_model, batch_size=batch_size).complete(requests))
    for request, (ours,) in zip(requests, together, strict=True):
        (single,) = alone(tiny_model, request)
        logits = logits_before(tiny_model, request.tokens, single.tokens)
        if assert_same_tokens(ours.tokens, single.tokens, logits) == len(single.tokens):
            assert ours.text == single.text
            assert ours.log_likelihood == pytest.approx(single.log_likelihood, abs=1e-3)


def test_what_is_done_early_waits_for_nothing_before_it(tiny_model: LanguageModel) -> None:
    requests = [Request((30, 31), max_new_tokens=new) for new in (9, 2, 5, 1)]
    engine = Engine(tiny_model, batch_size=2)
    found = list(engine.complete_unordered(requests))
    assert [number for number, _ in found] == [1, 2, 3, 0]
    assert [completions for _, completions in sorted(found)] == list(engine.complete(requests))


@settings(max_examples=10)
@given(PROMPTS, st.integers(1, 3))
def test_a_mistake_in_the_source_comes_when_all_before_it_is_done(
    tiny_model: LanguageModel, prompts: list[tuple[int, ...]], batch_size: int
) -> None:
    def requests() -> Iterator[Request]:
        yield from (Request(prompt, 1 + place % 4) for place, prompt in enumerate(prompts))
        raise OptionError("This one is wrong.")

    found = Engine(tiny_model, batch_size=batch_size).complete_unordered(requests())
    assert sorted(number for _, (number, _) in zip(prompts, found, strict=False)) == list(range(len(prompts)))
    with pytest.raises(OptionError):
        next(found)


@settings(max_examples=10)
@given(PROMPTS, st.integers(0, 2**40))
def test_a_seed_reproduces_its_text_whatever_the_batch(
    tiny_model: LanguageModel, prompts: list[tuple[int, ...]], seed: int
) -> None:
    sampling = Sampling(temperature=0.9, top_k=20, top_p=0.9, repetition_penalty=1.2)
    requests = [Request(prompt, 6, sampling=sampling, seed=seed) for prompt in prompts]
    together = list(Engine(tiny_model, batch_size=3).complete(requests))
    assert [one.tokens for (one,) in together] == [alone(tiny_model, request)[0].tokens for request in requests]


def test_another_seed_gives_another_text(tiny_model: LanguageModel) -> None:
    sampling = Sampling(temperature=1.0)
    texts = {alone(tiny_model, Request((30, 40, 50), 8, sampling=sampling, seed=seed))[0].tokens for seed in range(5)}
    assert len(texts) == 5


def test_several_returns_differ_and_the_first_is_that_of_one(tiny_model: LanguageModel) -> None:
    sampling = Sampling(temperature=1.0)
    request = Request((30, 40, 50), 8, sampling=sampling, seed=4, returns=3)
    several = alone(tiny_model, request)
    beside = list(Engine(tiny_model, batch_size=5).complete([Request((9, 8), 3), request, Request((7,), 5)]))[1]
    single = alone(tiny_model, Request((30, 40, 50), 8, sampling=sampling, seed=4))
    assert len({completion.tokens for completion in several}) == 3
    assert several[0].tokens == single[0].tokens
    assert [one.tokens for one in beside] == [one.tokens for one in several]


def test_results_come_in_order_and_lazily(tiny_model: LanguageModel) -> None:
    taken = 0

    def requests() -> Iterator[Request]:
        nonlocal taken
        for place in range(100):
            taken += 1
            yield Request((20 + place,) * (1 + place % 9), 1 + place % 3)

    stream = Engine(tiny_model, batch_size=2).complete(requests())
    first = next(stream)
    assert taken <= 2 * 8
    rest = list(stream)
    assert taken == 100
    lengths = [len(one.tokens) for (one,) in [first, *rest]]
    assert all(length <= 1 + place % 3 for place, length in enumerate(lengths))


def test_an_error_of_the_source_comes_after_what_was_taken_before(tiny_model: LanguageModel) -> None:
    def requests() -> Iterator[Request]:
        yield Request((20, 21), 2)
        yield Request((22, 23), 2)
        raise ValueError("row 3")

    stream = Engine(tiny_model).complete(requests())
    assert len([next(stream), next(stream)]) == 2
    with pytest.raises(ValueError, match="row 3"):
        next(stream)


def test_memory_stays_within_the_bound_and_changes_nothing(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request((25 + place,) * (3 + 7 * (place % 4)), 10) for place in range(12)]
    free = list(Engine(tiny_model, batch_size=6).complete(requests))
    token = bytes_per_token(tiny_model.backbone.config, torch.float32)
    bound = 80 * token
    peaks = []
    original = LanguageModel.next_token_logits

    def watched(self: LanguageModel, texts: object, rows: object) -> torch.Tensor:
        result = original(self, texts, rows)  # type: ignore[arg-type]
        peaks.append(rows.cache.bytes)  # type: ignore[attr-defined]
        return result

    monkeypatch.setattr(LanguageModel, "next_token_logits", watched)
    tight = list(Engine(tiny_model, batch_size=6, max_cache_bytes=bound).complete(requests))
    assert [one.tokens for (one,) in tight] == [one.tokens for (one,) in free]
    assert 0 < max(peaks) <= bound


def test_one_text_that_passes_the_bound_alone_is_refused(tiny_model: LanguageModel) -> None:
    token = bytes_per_token(tiny_model.backbone.config, torch.float32)
    with pytest.raises(ResourceError, match="key/value cache"):
        list(Engine(tiny_model, max_cache_bytes=20 * token).complete([Request((30,) * 40, 5)]))


def test_a_prompt_that_fills_the_context_is_refused(tiny_model: LanguageModel) -> None:
    with pytest.raises(InputTooLongError, match="128"):
        list(Engine(tiny_model).complete([Request((30,) * 128, 5)]))


def test_the_context_ends_a_text(tiny_model: LanguageModel) -> None:
    (one,) = alone(tiny_model, Request((30,) * 126, 50))
    assert len(one.tokens) == 2
    assert one.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": ()},
        {"max_new_tokens": 0},
        {"returns": 0},
        {"beams": 0},
        {"stop": ("",)},
        {"returns": 2},
        {"beams": 2, "returns": 3},
        {"beams": 2, "sampling": Sampling(temperature=1.0)},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Request(**({"tokens": (1,), "max_new_tokens": 3} | wrong))  # type: ignore[arg-type]


def test_streamed_pieces_join_to_the_text(default_model: LanguageModel) -> None:
    engine = Engine(default_model)
    prompt = "Here is the Chinese word for cat, with an emoji: 猫 🐈. And dog, bird, fish: 狗 🐕,"
    request = Request(tuple(default_model.tokenizer.encode(prompt)), 24)
    pieces = list(engine.stream(request))
    completion = pieces.pop()
    assert isinstance(completion, Completion)
    assert all(isinstance(piece, str) and piece and "\ufffd" not in piece for piece in pieces)
    assert "".join(str(piece) for piece in pieces) == completion.text
    assert len(pieces) > 5
    assert completion.text == alone(default_model, request)[0].text


def test_a_stop_string_across_token_borders_ends_the_text(default_model: LanguageModel) -> None:
    prompt = tuple(default_model.tokenizer.encode("One, two, three, four, five, six,"))
    free = alone(default_model, Request(prompt, 20))[0]
    middle = free.text[3:9]  # begins and ends inside words
    stopped = list(Engine(default_model).stream(Request(prompt, 20, stop=("never there", middle))))
    completion = stopped.pop()
    assert isinstance(completion, Completion)
    assert completion.text == free.text[: free.text.index(middle)]
    assert completion.finish_reason is FinishReason.STOP
    assert "".join(str(piece) for piece in stopped) == completion.text


def test_many_threads_share_one_engine(tiny_model: LanguageModel) -> None:
    engine = Engine(tiny_model, batch_size=2)
    requests = [Request((20 + place, 30, 40), 6) for place in range(8)]
    expected = [alone(tiny_model, request)[0].tokens for request in requests]
    found: dict[int, tuple[int, ...]] = {}

    def work(place: int) -> None:
        found[place] = next(engine.complete([requests[place]]))[0].tokens

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[place] for place in range(8)] == expected
