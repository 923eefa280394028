"""``low_memory=True``: the same results from a fraction of the memory, and one sentence where it doesn't go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny_language_model import write_tiny_model
from transformers import AutoModelForCausalLM

from gptapps import finetune, pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.model_identity import model_identity
from gptapps.errors import OptionError

REVIEWS = ("The soup was cold and the waiter rude.", "A warm, funny film that we will see again.")
CONTEXT = "The church clock had stood still for years when Martha Lindqvist, a watchmaker, repaired it."


@pytest.fixture(scope="module")
def compact_model(default_gguf: Path) -> LanguageModel:
    """The default model, its matrices in 8 bits."""
    return LanguageModel.load("smollm2-135m-instruct", low_memory=True)


@pytest.fixture(scope="module")
def tiny_in_bfloat16(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> Path:
    """A random model of 16 bits a number."""
    folder = write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer)
    AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    return folder


def test_the_default_model_says_the_same(compact_model: LanguageModel, default_model: LanguageModel) -> None:
    compact, plain = ({"model": model, "threads": 1} for model in (compact_model, default_model))
    for ours, expected in zip(*(pipeline("sentiment", **given)(REVIEWS) for given in (compact, plain)), strict=True):
        assert ours.label == expected.label
        assert ours.scores == pytest.approx(expected.scores, abs=1e-5)
    asked = {"question": "Who repaired the church clock?", "context": CONTEXT}
    answers = [pipeline("answer", **given)(**asked) for given in (compact, plain)]
    assert (answers[0].text, answers[0].start) == (answers[1].text, answers[1].start)
    written = [pipeline("generate", **given)("Name a fog.", max_new_tokens=12).text for given in (compact, plain)]
    assert written[0] == written[1] != ""
    perplexities = [pipeline("score", **given)(CONTEXT).perplexity for given in (compact, plain)]
    assert perplexities[0] == pytest.approx(perplexities[1], rel=1e-5)


def test_it_holds_a_third(compact_model: LanguageModel, default_model: LanguageModel) -> None:
    held = []
    for model in (compact_model, default_model):
        tensors = [*model.backbone.parameters(), *model.backbone.buffers()]
        tensors += [*model.head.parameters(), *model.head.buffers()]
        held.append(sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values()))
    assert 0.2 < held[0] / held[1] < 1 / 3


@pytest.mark.parametrize("dtype", ["float32", None])
def test_it_is_the_same_model_to_whoever_asks(tiny_in_bfloat16: Path, dtype: str | None) -> None:
    """So a run goes on, and a head finds its base, with it or without."""
    plain = LanguageModel.load(str(tiny_in_bfloat16), dtype=dtype)
    compact = LanguageModel.load(str(tiny_in_bfloat16), dtype=dtype, low_memory=True)
    assert model_identity(compact) == model_identity(plain)
    other = replace(compact, backbone=LanguageModel.load(str(tiny_in_bfloat16), low_memory=True).backbone)
    other.backbone.get_submodule("blocks.0.attention.qkv").get_buffer("values")[0] += 1
    assert model_identity(other) != model_identity(plain)


def test_a_head_is_trained_and_served_with_it(tiny_in_bfloat16: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(REVIEWS * 6, ("bad", "good") * 6, strict=True)]
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps({**row, "text": f"{n} {row['text']}"}) + "\n" for n, row in enumerate(rows)))
    given: dict[str, Any] = {"model": str(tiny_in_bfloat16), "dtype": "float32", "method": "head"}
    finetune("classify", train, output=tmp_path / "plain", **given)
    finetune("classify", train, output=tmp_path / "compact", low_memory=True, **given)
    plain, compact = (load_file(tmp_path / name / "head.safetensors") for name in ("plain", "compact"))
    torch.testing.assert_close(compact, plain, atol=1e-4, rtol=1e-4)
    served = [
        pipeline("classify", model=tmp_path / "plain", low_memory=low_memory)(REVIEWS[0]).scores
        for low_memory in (False, True)
    ]
    assert served[0] == pytest.approx(served[1], abs=1e-5)
    with pytest.raises(OptionError, match=r"can't be changed by an adapter or by training: leave it out\."):
        finetune("classify", train, output=tmp_path / "lora", low_memory=True, **{**given, "method": "lora"})


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_an_adapter_needs_widened_matrices(tiny_in_bfloat16: Path, tmp_path: Path) -> None:
    config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, target_modules=["q_proj"])
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_in_bfloat16), config).save_pretrained(tmp_path)
    with pytest.raises(OptionError, match=r"can't be changed by an adapter or by training: leave it out\."):
        LanguageModel.load(str(tmp_path), base=str(tiny_in_bfloat16), low_memory=True)


def test_what_is_neither_yes_nor_no() -> None:
    with pytest.raises(OptionError, match="The option low_memory is 1, but has to be True or False"):
        pipeline("classify", low_memory=1)


def test_in_the_harness(tiny_in_bfloat16: Path) -> None:
    from gptapps.lm_eval import GPTAppsLM

    model = GPTAppsLM.create_from_arg_string(f"pretrained={tiny_in_bfloat16},dtype=float32,low_memory=True")
    plain = GPTAppsLM.create_from_arg_string(f"pretrained={tiny_in_bfloat16},dtype=float32")
    assert model.get_model_info() == plain.get_model_info()
    pairs = [(("", ""), [1, 2, 3], [4, 5]), (("", ""), [1, 2], [7])]
    found, expected = (one._loglikelihood_tokens(pairs) for one in (model, plain))
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-5)
    assert [likeliest for _, likeliest in found] == [likeliest for _, likeliest in expected]
    with pytest.raises(OptionError, match="low_memory is 'maybe', but has to be True or False"):
        GPTAppsLM.create_from_arg_string(f"pretrained={tiny_in_bfloat16},low_memory=maybe")
