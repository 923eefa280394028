"""Likelihoods of continuations from one encoding equal those of whole texts, each encoded alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.backbone.gpt import GPTBackbone
from gptapps.decoding.choice_scoring import Choices, score_choices, split_choices
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import InputTooLongError

IDS = st.integers(20, 5000)
ITEMS = st.lists(
    st.builds(
        Choices,
        st.lists(IDS, min_size=1, max_size=30).map(tuple),
        st.lists(st.lists(IDS, min_size=1, max_size=5).map(tuple), min_size=1, max_size=5).map(tuple),
    ),
    min_size=1,
    max_size=5,
)


def independent(model: LanguageModel, text: tuple[int, ...], continuation: tuple[int, ...]) -> float:
    with torch.inference_mode():
        whole = [*text, *continuation]
        scores = model.logits(model.read([whole[:-1]])[0]).log_softmax(-1)
        return float(sum(scores[place - 1, whole[place]] for place in range(len(text), len(whole))))


@settings(max_examples=20)
@given(ITEMS, st.integers(1, 3))
def test_one_encoding_gives_the_likelihoods_of_many(
    tiny_model: LanguageModel, items: list[Choices], batch_size: int
) -> None:
    scored = list(score_choices(tiny_model, items, batch_size=batch_size))
    for item, scores in zip(items, scored, strict=True):
        for continuation, score in zip(item.continuations, scores, strict=True):
            assert score == pytest.approx(independent(tiny_model, item.text, continuation), abs=1e-3, rel=1e-5)


def test_the_text_is_read_once_for_all_labels(tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = GPTBackbone.forward

    def counted(self: GPTBackbone, tokens: torch.Tensor, **options: Any) -> torch.Tensor:
        read.append(sum(options.get("lengths") or [tokens.numel()]))
        return original(self, tokens, **options)

    monkeypatch.setattr(GPTBackbone, "forward", counted)
    labels = tuple((100 + place, 200, 300) for place in range(20))
    list(score_choices(tiny_model, [Choices((30,) * 50, labels)]))
    assert sum(read) == 50 + 20 * 2  # the last token of a label is only predicted


@given(st.lists(st.lists(IDS, min_size=2, max_size=8), min_size=1, max_size=5))
def test_splitting_keeps_every_token(encoded: list[list[int]]) -> None:
    choices = split_choices(encoded)
    assert [[*choices.text, *ids] for ids in choices.continuations] == encoded
    assert all(choices.continuations)


def test_a_context_bounds_what_continuations_share() -> None:
    choices = split_choices([[1, 2, 3, 4], [1, 2, 3, 5]], [1, 2])
    assert choices.text == (1, 2)
    assert choices.continuations == ((3, 4), (3, 5))


def test_a_text_that_is_too_long_is_refused(tiny_model: LanguageModel) -> None:
    with pytest.raises(InputTooLongError, match="129 tokens"):
        list(score_choices(tiny_model, [Choices((30,) * 127, ((1, 2), (3,)))]))


def test_the_cache_bound_holds(tiny_model: LanguageModel) -> None:
    from gptapps.errors import ResourceError

    with pytest.raises(ResourceError, match="MiB"):
        list(score_choices(tiny_model, [Choices((30,) * 60, ((1, 2), (3,)))], max_cache_bytes=1000))
