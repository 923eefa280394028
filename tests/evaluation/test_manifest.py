"""Signatures and differences of manifests."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from scripted import scripted_model

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.model_identity import model_identity
from gptapps.evaluation.manifest import Manifest, digest
from gptapps.model_store import DEFAULT_MODEL, PACKAGED_MODELS

CONTENT: dict[str, Any] = {
    "seed": 0,
    "options": {"labels": ["a"], "overflow": "chunk"},
    "prompt": {"sha256": "1", "x": 1},
}
LEAVES = st.none() | st.integers() | st.text(max_size=3)
CONTENTS = st.dictionaries(st.sampled_from("abc"), LEAVES | st.dictionaries(st.sampled_from("de"), LEAVES), max_size=3)


def made(content: dict[str, Any], created: str = "today", batch_size: int = 8) -> Manifest:
    return Manifest.of(content, created=created, batch_size=batch_size)


@given(CONTENTS, CONTENTS)
def test_signatures_agree_where_nothing_differs(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = made(one), made(other)
    assert (first.signature == second.signature) == (not first.differences(second.content)) == (one == other)


def test_what_no_number_depends_on_is_no_difference() -> None:
    one, other = made({**CONTENT, "names": {"model": "a"}}), made({**CONTENT, "names": {"model": "b"}}, "tomorrow", 3)
    assert one.differences(other.content) == []
    assert one.signature == other.signature
    assert other.content["batch_size"] == 3


def test_differences_are_named_with_both_values() -> None:
    there = made({**CONTENT, "seed": 1, "options": {"labels": ["a", "b"]}}).content
    assert made(CONTENT).differences(there) == [
        "seed (1 there, 0 here)",
        'options.labels (["a", "b"] there, ["a"] here)',
        'options.overflow (nothing there, "chunk" here)',
    ]


def test_a_prompt_that_differs_in_several_parts_is_named_once() -> None:
    there = made({**CONTENT, "prompt": {"sha256": "2", "x": 3}}).content
    assert made(CONTENT).differences(there) == ["the prompt"]


def test_a_packaged_model_is_known_by_its_file(default_model: LanguageModel) -> None:
    assert model_identity(default_model) == {"sha256": PACKAGED_MODELS[DEFAULT_MODEL].sha256, "of": "file"}


def test_any_other_model_is_known_by_its_weights() -> None:
    one, same, other = scripted_model(), scripted_model("another name"), scripted_model(seed=1)
    assert model_identity(one) == model_identity(same) != model_identity(other)
    with torch.no_grad():
        next(one.backbone.parameters()).view(-1)[0] += 1
    assert model_identity(one) != model_identity(same)


def test_a_digest_doesnt_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": "好"}) == digest({"b": "好", "a": 1}) != digest({"a": 1, "b": "坏"})
