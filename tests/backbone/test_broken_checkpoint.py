"""What is wrong with a broken checkpoint is told in one sentence, and a failed save breaks nothing."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import TinyModel, logits_of, rewrite
from torch import Tensor

from gptapps.backbone import safetensors_files
from gptapps.errors import CheckpointError, ModelNotFoundError, ResourceError, UnsupportedModelError
from gptapps.heads.loading import load_language_model, save_language_model


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
