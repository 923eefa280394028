"""Checkpoints in the Hugging Face layout: other spellings, shards, and what is wrong with a broken one."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import ONE_PER_FAMILY, TOKENS, TinyModel, random_tokens
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from gptapps.backbone import safetensors_files
from gptapps.errors import CheckpointError, ModelNotFoundError, ResourceError, UnsupportedModelError
from gptapps.heads.loading import load_language_model, save_language_model


@pytest.fixture
def copied(tiny: Callable[[str], TinyModel], tmp_path: Path) -> Callable[[str], Path]:
    """Copy the directory of a tiny model to where a test may break it."""

    def copy(name: str) -> Path:
        directory = tmp_path / name
        shutil.copytree(tiny(name).directory, directory)
        return directory

    return copy


def rewrite(directory: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    file = directory / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    save_file(change(tensors), file, {"format": "pt"})


def logits_of(directory: Path) -> Tensor:
    backbone, head = load_language_model(directory)
    logits: Tensor = head(backbone(random_tokens(2, TOKENS)))
    return logits


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


def refused(directory: Path, message: str, kind: type[Exception] = CheckpointError) -> None:
    with pytest.raises(kind, match=message) as caught:
        load_language_model(directory)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_a_tensor_is_missing(copied: Callable[[str], Path]) -> None:
    directory = copied("llama")

    def without(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        del tensors["model.layers.1.self_attn.k_proj.weight"]
        return tensors

    rewrite(directory, without)
    refused(directory, r"llama lacks model\.layers\.1\.self_attn\.k_proj\.weight\.$")


def test_many_tensors_are_missing(copied: Callable[[str], Path]) -> None:
    directory = copied("llama")
    rewrite(directory, lambda tensors: {"lm_head.weight": tensors["lm_head.weight"]})
    refused(directory, r"lacks model\.embed_tokens\.weight, .*, .* and 17 more tensors\.$")


def test_a_tensor_too_many(copied: Callable[[str], Path]) -> None:
    directory = copied("llama")
    rewrite(directory, lambda tensors: tensors | {"model.layers.2.mlp.up_proj.weight": torch.ones(2)})
    refused(directory, r"a llama model of this configuration doesn't have: model\.layers\.2\.mlp\.up_proj\.weight\.$")


def test_a_bias_the_configuration_denies(copied: Callable[[str], Path]) -> None:
    directory = copied("llama-biased")
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attention_bias": False}))
    refused(directory, r"doesn't have: model\.layers\.0\.self_attn\.[kqvo]_proj\.bias, .* and 5 more tensors\.$")


def test_a_wrong_shape(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    rewrite(directory, lambda tensors: tensors | {"transformer.h.1.attn.c_attn.weight": torch.ones(96, 32)})
    refused(directory, r"c_attn\.weight of shape \(96, 32\) where its configuration asks for \(32, 96\)\.$")


def test_integers_in_place_of_weights(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    rewrite(directory, lambda tensors: tensors | {"transformer.wte.weight": torch.ones(99, 32, dtype=torch.int8)})
    refused(directory, r"transformer\.wte\.weight as torch\.int8: gptapps reads floating-point weights only")


@pytest.mark.parametrize("kept", [0, 5, 100, -100])
def test_a_truncated_file(kept: int, copied: Callable[[str], Path]) -> None:
    file = copied("gpt2") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused(file.parent, r"model\.safetensors is truncated or damaged \(.*\): fetch it again\.$")


def test_a_missing_shard(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    tiny("gpt2").theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    sorted(tmp_path.glob("*.safetensors"))[1].unlink()
    refused(tmp_path, r"model-00002-of-\d+\.safetensors is missing: fetch the whole checkpoint again\.$")


def test_an_index_that_names_no_files(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    tiny("gpt2").theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": []}')
    refused(tmp_path, r"index\.json has no weight_map that names files")


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "x.ckpt"])
def test_a_pickle_is_never_loaded(pickle: str, copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    (directory / "model.safetensors").rename(directory / pickle)
    refused(directory, rf"{pickle}, a pickle, and pickles are never loaded .* convert it .* save_pretrained\.$")


def test_a_directory_without_weights(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    (directory / "model.safetensors").unlink()
    refused(directory, r"holds no model\.safetensors: is it a model directory")


def test_a_directory_without_configuration(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    (directory / "config.json").unlink()
    refused(directory, r"config\.json is missing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_type": "gpt2",\n  "n_embd" 3}', r"config\.json is no JSON: .* in line 2\.$"),
        ("[]", r"config\.json holds no JSON object\.$"),
        ("{}", r"config\.json doesn't say model_type"),
    ],
)
def test_a_configuration_that_is_no_configuration(text: str, message: str, copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    (directory / "config.json").write_text(text)
    refused(directory, message)


def test_a_configuration_in_another_encoding(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    (directory / "config.json").write_bytes(b'{"model_type": "\xff\xfe"}')
    refused(directory, r"config\.json can't be read")


def test_quantized_weights_are_refused(copied: Callable[[str], Path]) -> None:
    directory = copied("gpt2")
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": {"quant_method": "gptq"}}))
    refused(directory, "sets quantization_config to", UnsupportedModelError)


def test_nothing_there(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", r"There is no model at .*nowhere\.$", ModelNotFoundError)


def test_neither_directory_nor_gguf(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    refused(tmp_path / "notes.txt", r"notes\.txt is neither a model directory nor a GGUF file\.$")


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "no space"), None])
def test_a_full_disk(
    failure: OSError | None, tiny: Callable[[str], TinyModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        if failure is not None:
            raise failure
        raise safetensors_files.SafetensorError("I/O error: No space left on device (os error 28)")

    model = tiny("gpt2")
    save_language_model(model.backbone, model.head, tmp_path)
    before = logits_of(tmp_path)
    monkeypatch.setattr(safetensors_files, "save_file", full)
    with pytest.raises(ResourceError, match=r"The disk is full: .*model\.safetensors could not be written\.$"):
        save_language_model(model.backbone, model.head, tmp_path)
    assert torch.equal(logits_of(tmp_path), before)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_loading_makes_no_random_numbers(tiny: Callable[[str], TinyModel]) -> None:
    directory = tiny("gpt2").directory
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_language_model(directory)
    assert torch.equal(torch.rand(1), expected)
