"""What the harness gets from our backend is what it gets from its own, request by request."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from backends import Requests, their_backend
from tiny_language_model import one_thread, write_tiny_model
from tokenizers.processors import TemplateProcessing

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import PrefixTree
from gptapps.errors import CapabilityError, DataError, InputTooLongError, OptionError
from gptapps.lm_eval import GPTAppsLM

SHOTS = "Question: What melts in the sun?\nAnswer: ice\n\nQuestion: What does a hen lay?\nAnswer: an egg\n\n"
QUESTIONS = ("What gives milk?", "Where do fish live?", "Which month follows May?")
CHOICES = (" a cow", " a cowbell", " in water", " June", " the month of June")
NEAR = 1e-4  # a token
QUIET = {"disable_tqdm": True}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


PAIRS = [
    *((f"{SHOTS}Question: {question}\nAnswer:", choice) for question in QUESTIONS for choice in CHOICES),
    ("A text that ends in spaces  ", "goes on"),
    ("", "Nothing stands before this."),
    ("<|im_start|>user\nHello", " there"),
    ("", "<|im_start|>user"),
    ("海が見える", "丘🦉"),
    ("Twice the same", " thing"),
    ("Twice the same", " thing"),
    ("too long " * 60, " by far, but the end of it counts"),
    ("short", " and the continuation fills it" * 15),
]


def test_likelihoods_are_those_of_the_hf_backend(ours: Any, theirs: Any, requests_of: Requests) -> None:
    requests = requests_of("loglikelihood", PAIRS)
    for (context, continuation), own, their in zip(
        PAIRS, ours.loglikelihood(requests, **QUIET), theirs.loglikelihood(requests, **QUIET), strict=True
    ):
        tokens = len(theirs.tok_encode(continuation))
        assert own == (pytest.approx(their[0], abs=NEAR * tokens), their[1]), (context, continuation)


def test_a_tokenizer_that_puts_a_start_token_before_texts(
    default_model: LanguageModel, tmp_path: Path, requests_of: Requests
) -> None:
    write_tiny_model(tmp_path, default_model.tokenizer, context_length=96)
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    backend.save(str(tmp_path / "tokenizer.json"))
    ours = GPTAppsLM(str(tmp_path), device="cpu", dtype="float32")
    theirs = their_backend(tmp_path, batch_size=8)
    assert ours.tok_encode("A text")[0] == ours.tok_encode("<|im_start|>A text")[0] == 1
    for context, continuation in PAIRS:
        if context:
            assert ours._encode_pair(context, continuation) == theirs._encode_pair(context, continuation)
    requests = requests_of("loglikelihood", PAIRS[-6:])
    assert ours.loglikelihood(requests, **QUIET) == [
        (pytest.approx(log_likelihood, abs=NEAR * 96), greedy)
        for log_likelihood, greedy in theirs.loglikelihood(requests, **QUIET)
    ]
    requests = requests_of("generate_until", [(context, {"max_gen_toks": 5}) for context, _ in PAIRS[:3]])
    assert ours.generate_until(requests, **QUIET) == theirs.generate_until(requests, **QUIET)


def test_what_greedy_decoding_writes_counts_as_greedy(ours: Any, theirs: Any, requests_of: Requests) -> None:
    (written,) = ours.generate_until(requests_of("generate_until", [(SHOTS, {"max_gen_toks": 6})]), **QUIET)
    ids = ours.tok_encode(SHOTS + written)[len(ours.tok_encode(SHOTS)) :]
    requests = [((SHOTS, written), ours.tok_encode(SHOTS), continuation) for continuation in (ids, [*ids[:-1], 0])]
    expected = [greedy for _, greedy in theirs._loglikelihood_tokens(requests, **QUIET)]
    assert expected == [True, False]
    assert [greedy for _, greedy in ours._loglikelihood_tokens(requests, **QUIET)] == expected


def test_likelihoods_do_not_depend_on_what_else_is_asked(ours: Any, requests_of: Requests) -> None:
    together = ours.loglikelihood(requests_of("loglikelihood", PAIRS), **QUIET)
    for pair, (log_likelihood, greedy) in zip(PAIRS, together, strict=True):
        ((alone, also_greedy),) = ours.loglikelihood(requests_of("loglikelihood", [pair]), **QUIET)
        assert (alone, also_greedy) == (pytest.approx(log_likelihood, abs=NEAR * 30), greedy)


def test_shots_are_encoded_once(ours: Any, requests_of: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    trees: list[PrefixTree] = []

    def made(model: LanguageModel, *, max_bytes: int | None) -> PrefixTree:
        trees.append(PrefixTree(model, max_bytes=max_bytes))
        return trees[-1]

    monkeypatch.setattr("gptapps.integrations.lm_eval.PrefixTree", made)
    pairs = PAIRS[: len(QUESTIONS) * len(CHOICES)]
    ours.loglikelihood(requests_of("loglikelihood", pairs), **QUIET)
    prefixes = {
        tuple(ids[:end])
        for context, choice in pairs
        for ids in [ours.tok_encode(context + choice)]
        for end in range(1, len(ids))
    }
    assert [tree.encoded_tokens for tree in trees] == [len(prefixes)]


def test_whole_texts_longer_than_the_context(ours: Any, theirs: Any, requests_of: Requests) -> None:
    texts = [("A short one.",), ("The tide comes in and goes out again, twice a day. " * 20,), ("",), ("x" * 400,)]
    requests = requests_of("loglikelihood_rolling", texts)
    assert len(theirs.tok_encode(texts[1][0])) > 2 * theirs.max_length
    assert ours.loglikelihood_rolling(requests, **QUIET) == [
        pytest.approx(total, abs=NEAR * 300) for total in theirs.loglikelihood_rolling(requests, **QUIET)
    ]


def test_continuations_are_those_of_the_hf_backend(ours: Any, theirs: Any, requests_of: Requests) -> None:
    (plain,) = ours.generate_until(requests_of("generate_until", [(SHOTS, {"max_gen_toks": 12})]), **QUIET)
    stop = plain[5:8]
    requests = requests_of(
        "generate_until",
        [
            (SHOTS, {"until": ["\n\n"], "max_gen_toks": 12}),
            (SHOTS, {"until": [stop, "\n", ""], "max_gen_toks": 12, "do_sample": False, "temperature": 0.7}),
            (QUESTIONS[0], {"until": stop, "max_new_tokens": 5, "temperature": 0.0}),
            ("too long " * 60, {"until": [], "max_gen_toks": 40}),
            (f"<|im_start|>user\n{QUESTIONS[1]}", {"max_gen_toks": 8, "do_sample": False}),
        ],
    )
    found = ours.generate_until(requests, **QUIET)
    assert found == theirs.generate_until(requests, **QUIET)
    assert found[1] == plain[: plain.index(stop)]


def test_draws_follow_the_seed_and_differ_from_each_other(ours: Any, requests_of: Requests) -> None:
    settings = {"max_gen_toks": 8, "do_sample": True, "temperature": 1.5, "top_p": 0.95}
    requests = requests_of("generate_until", [(SHOTS, settings)] * 3)

    def drawn(seed: int) -> list[str]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return list(ours.generate_until(requests, **QUIET))

    assert drawn(1) == drawn(1)
    assert len({*drawn(1), *drawn(2)}) == 6


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"max_gen_toks": 96}, "96 new tokens, and the model holds 96"),
        ({"do_sample": True}, "needs a temperature above 0"),
        ({"temprature": 0.5}, "no generation setting 'temprature'. Did you mean 'temperature'"),
        ({"num_beams": "two"}, "num_beams is 'two'"),
    ],
)
def test_generation_that_makes_no_sense(
    ours: Any, requests_of: Requests, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises((OptionError, InputTooLongError), match=problem):
        ours.generate_until(requests_of("generate_until", [("A text", settings)]), **QUIET)


@pytest.mark.parametrize(
    ("pair", "problem"), [(("A text", ""), "no token of its own"), (("A", " word" * 100), "100 tokens, and the model")]
)
def test_continuations_that_cannot_be_scored(
    ours: Any, requests_of: Requests, pair: tuple[str, str], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        ours.loglikelihood(requests_of("loglikelihood", [pair]), **QUIET)


def test_what_is_cut_off_is_said(ours: Any, requests_of: Requests, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="gptapps"):
        ours.loglikelihood(requests_of("loglikelihood", PAIRS[-2:]), **QUIET)
        ours.generate_until(requests_of("generate_until", [("long " * 95, {"max_gen_toks": 2})]), **QUIET)
    assert caplog.messages == [
        f"{count} texts are too long for the model, which holds 96 tokens, and lose their beginning."
        for count in ("1 of 2", "1 of 1")
    ]


CHAT = [
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": QUESTIONS[0]},
    {"role": "assistant", "content": "A: "},
]


@pytest.mark.parametrize(("messages", "generation"), [(CHAT[:2], True), (CHAT[1:2], True), (CHAT, False)])
def test_conversations_are_those_of_the_hf_backend(
    ours: Any, theirs: Any, messages: list[dict[str, str]], generation: bool
) -> None:
    assert ours.apply_chat_template(messages, generation) == theirs.apply_chat_template(messages, generation)
    assert ours.chat_template(True) == theirs.chat_template(True)
    assert ours.chat_template(False) is None


def test_the_harness_can_keep_answers(ours: Any, requests_of: Requests) -> None:
    kept: list[tuple[str, tuple[Any, ...], Any]] = []

    class Hook:
        def add_partial(self, kind: str, arguments: tuple[Any, ...], answer: Any) -> None:
            kept.append((kind, arguments, answer))

    settings = {"max_gen_toks": 3}
    ours.set_cache_hook(Hook())
    try:
        scores = ours.loglikelihood(requests_of("loglikelihood", PAIRS[:4]), **QUIET)
        totals = ours.loglikelihood_rolling(requests_of("loglikelihood_rolling", [(SHOTS,)]), **QUIET)
        texts = ours.generate_until(requests_of("generate_until", [(SHOTS, settings)]), **QUIET)
    finally:
        from lm_eval.api.model import CacheHook

        ours.set_cache_hook(CacheHook(None))
    assert sorted(kept[:4]) == sorted(("loglikelihood", *pair) for pair in zip(PAIRS[:4], scores, strict=True))
    assert kept[4:] == [
        ("loglikelihood_rolling", (SHOTS,), totals[0]),
        ("generate_until", (SHOTS, settings), texts[0]),
    ]


def test_the_results_say_which_model(ours: Any, theirs: Any) -> None:
    info = ours.get_model_info()
    assert info["model_num_parameters"] == theirs.get_model_info()["model_num_parameters"]
    assert info["model_dtype"] == "torch.float32"


def test_a_base_model_does_not_chat(default_model: LanguageModel, tmp_path: Path) -> None:
    base = GPTAppsLM(str(write_tiny_model(tmp_path, default_model.tokenizer, chat=False)))
    assert base.chat_template(True) is None
    with pytest.raises(CapabilityError, match="no chat template"):
        base.apply_chat_template(CHAT[1:2])
