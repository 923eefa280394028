"""Tokens of all rows chosen by one operation, as on a GPU, against choosing row by row."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

import pytest

from gptapps.decoding import continuation
from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.request import Completion, Request
from gptapps.decoding.sampling import Sampling


class Even:
    """Only even ids, and an end where the model would rather say an odd one, from the fourth token on."""

    def __init__(self, end: int, vocabulary: int) -> None:
        self.last, self.count, self.even = end, 0, range(0, vocabulary, 2)

    def start(self) -> Even:
        return Even(self.last, len(self.even) * 2)

    def allowed(self) -> Collection[int]:
        return self.even

    def end(self) -> int | None:
        return self.last if self.count > 3 else None

    def advance(self, token: int) -> None:
        self.count += 1


@pytest.fixture
def complete(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[Request], bool, int], list[Completion]]:
    """Answer requests, choosing together or one by one."""

    def run(requests: list[Request], together: bool, batch_size: int) -> list[Completion]:
        monkeypatch.setattr(continuation, "uses_triton", lambda *_: together)
        return [one for (one,) in Engine(tiny_model, batch_size=batch_size).complete(requests)]

    return run


def prompts(words: random.Random) -> list[tuple[int, ...]]:
    return [tuple(words.randrange(20, 5000) for _ in range(length)) for length in (3, 9, 1, 6)]


def test_greedy_penalized_and_constrained_rows(
    complete: Callable[[list[Request], bool, int], list[Completion]], words: random.Random, tiny_model: LanguageModel
) -> None:
    tokenizer = tiny_model.tokenizer
    constraint = Even(tokenizer.eos_ids[0], tokenizer.vocabulary_size)
    options = [
        {},
        {"sampling": Sampling(repetition_penalty=1.5)},
        {"constraint": constraint},
        {"constraint": constraint, "sampling": Sampling(repetition_penalty=1.2)},
    ]
    requests = [Request(prompt, 8, **option) for prompt, option in zip(prompts(words), options, strict=True)]  # type: ignore[arg-type]
    for ours, theirs in zip(complete(requests, True, 4), complete(requests, False, 4), strict=True):
        assert ours.tokens == theirs.tokens
        assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=1e-3)
    for prompt in requests[:1]:
        assert complete([prompt], True, 1) == complete([prompt], True, 2)


def test_a_seed_reproduces_its_text_whatever_the_batch(
    complete: Callable[[list[Request], bool, int], list[Completion]], words: random.Random
) -> None:
    sampling = Sampling(temperature=0.9, top_k=20, top_p=0.9, repetition_penalty=1.2)
    requests = [Request(prompt, 6, sampling=sampling, seed=7) for prompt in prompts(words)]
    together = [one.tokens for one in complete(requests, True, 3)]
    assert together == [complete([request], True, 1)[0].tokens for request in requests]
    others = [Request(request.tokens, 6, sampling=sampling, seed=8) for request in requests]
    assert together != [one.tokens for one in complete(others, True, 3)]
