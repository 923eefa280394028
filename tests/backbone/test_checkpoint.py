"""Checkpoints in the Hugging Face layout: other spellings, shards, what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import ONE_PER_FAMILY, TOKENS, TinyModel, logits_of, random_tokens, rewrite
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from gptapps.heads.loading import load_language_model, save_language_model


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_names_without_the_base_prefix(
    name: str, tiny: Callable[[str], TinyModel], copied: Callable[[str], Path]
) -> None:
    directory = copied(name)
    rewrite(
        directory,
        lambda tensors: {
            key.removeprefix("transformer.").removeprefix("model.").removeprefix("gpt_neox."): tensor
            for key, tensor in tensors.items()
        },
    )
    assert torch.equal(logits_of(directory), tiny(name).our_logits(random_tokens(2, TOKENS)))


@pytest.mark.parametrize(
    ("name", "buffers"),
    [
        ("gpt2", ["transformer.h.0.attn.bias", "h.2.attn.masked_bias"]),
        ("gpt1", ["transformer.h.1.attn.bias", "position_ids"]),
        ("gpt_neo", ["transformer.h.3.attn.attention.bias", "transformer.h.3.attn.attention.masked_bias"]),
        ("gptj", ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"]),
        ("gpt_neox", ["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"]),
        ("llama", ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"]),
        ("gemma3", ["model.rotary_emb.inv_freq", "model.vision_tower.x.weight", "multi_modal_projector.y"]),
    ],
)
def test_buffers_are_left_aside(name: str, buffers: list[str], copied: Callable[[str], Path]) -> None:
    directory = copied(name)
    before = logits_of(directory)
    rewrite(directory, lambda tensors: tensors | {buffer: torch.ones(3) for buffer in buffers})
    assert torch.equal(logits_of(directory), before)


def test_an_older_name_of_the_output_projection(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt_neox")
    before = logits_of(directory)
    output = {"lm_head.weight", "embed_out.weight"}
    rewrite(
        directory,
        lambda tensors: {("lm_head.weight" if name in output else name): tensor for name, tensor in tensors.items()},
    )
    assert torch.equal(logits_of(directory), before)
    rewrite(
        directory,
        lambda tensors: {("embed_out.weight" if name in output else name): tensor for name, tensor in tensors.items()},
    )
    assert torch.equal(logits_of(directory), before)


def test_a_tied_output_projection_stored_twice(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    rewrite(directory, lambda tensors: tensors | {"lm_head.weight": tensors["transformer.wte.weight"].clone()})
    backbone, head = load_language_model(directory)
    assert head.projection.weight is backbone.token_embedding.weight


def test_an_output_projection_that_contradicts_tying_is_believed_as_transformers_does(
    copied: Callable[[str], Path],
) -> None:
    directory = copied("gpt2")
    rewrite(directory, lambda tensors: tensors | {"lm_head.weight": -tensors["transformer.wte.weight"]})
    theirs = AutoModelForCausalLM.from_pretrained(directory)
    tokens = random_tokens(2, TOKENS)
    torch.testing.assert_close(logits_of(directory), theirs(input_ids=tokens).logits, atol=1e-4, rtol=0)
    assert not load_language_model(directory)[0].config.tied_vocabulary


def test_gemma_with_a_vision_tower(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    text = tiny("gemma3").theirs
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 8,
        "patch_size": 4,
    }
    whole = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text.config.to_dict(), vision_config=vision, mm_tokens_per_image=1)
    )
    whole.model.language_model.load_state_dict(text.model.state_dict())
    whole.save_pretrained(tmp_path)
    assert any("vision" in name for name in load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(
        logits_of(tmp_path), tiny("gemma3").their_logits(random_tokens(2, TOKENS)), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", ["gpt2", "qwen3-windows", "gptj"])
def test_shards_of_transformers_and_of_ours(name: str, tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    model = tiny(name)
    model.theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 2
    expected = model.our_logits(random_tokens(2, TOKENS))
    assert torch.equal(logits_of(tmp_path / "theirs"), expected)
    save_language_model(model.backbone, model.head, tmp_path / "ours", max_shard_bytes=20_000)
    files = list((tmp_path / "ours").glob("*.safetensors"))
    assert len(files) > 2
    assert all(file.stat().st_size < 30_000 for file in files)
    torch.testing.assert_close(logits_of(tmp_path / "ours"), expected, atol=1e-5, rtol=0)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(theirs(input_ids=random_tokens(2, TOKENS)).logits, expected, atol=1e-4, rtol=0)


def test_saving_again_leaves_no_old_shards(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    model = tiny("llama")
    for limit in (20_000, 40_000, 10**9, 20_000):
        save_language_model(model.backbone, model.head, tmp_path, max_shard_bytes=limit)
        torch.testing.assert_close(logits_of(tmp_path), model.our_logits(random_tokens(2, TOKENS)))
        index = tmp_path / "model.safetensors.index.json"
        named = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
        assert {file.name for file in tmp_path.iterdir()} - {index.name, "config.json"} == named


def test_a_saved_file_is_as_readable_as_any_other(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    model = tiny("llama")
    save_language_model(model.backbone, model.head, tmp_path)
    (tmp_path / "other").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_token_ids_are_written(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    model = tiny("llama")
    save_language_model(model.backbone, model.head, tmp_path, token_ids={"eos_token_id": [3, 4], "bos_token_id": 1})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (theirs.config.eos_token_id, theirs.config.bos_token_id) == ([3, 4], 1)


def test_half_precision_in_memory_and_on_disk(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    backbone, head = load_language_model(tiny("llama").directory, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in (*backbone.parameters(), *head.parameters())} == {torch.bfloat16}
    save_language_model(backbone, head, tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype is torch.bfloat16
    again, _ = load_language_model(tmp_path)
    assert again.dtype is torch.float32


def test_parameters_can_be_trained_without_touching_the_file(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    before = logits_of(directory)
    backbone, head = load_language_model(directory)
    with torch.enable_grad():
        head(backbone(random_tokens(1, 4))).logsumexp(-1).sum().backward()
    torch.optim.SGD([*backbone.parameters()], 0.1).step()
    assert not torch.equal(head(backbone(random_tokens(2, TOKENS))), before)
    assert torch.equal(logits_of(directory), before)


def test_loading_makes_no_random_numbers(tiny: Callable[[str], TinyModel]) -> None:
    directory = tiny("gpt2").directory
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_language_model(directory)
    assert torch.equal(torch.rand(1), expected)
