"""GGUF files in: every architecture and tensor type against transformers with the same dequantized weights."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.constants import GGMLQuantizationType as Kind
from gguf.quants import dequantize
from tiny_gguf import write_gguf
from tiny_models import CASES, TOKENS, make_theirs, random_tokens
from transformers import AutoModelForCausalLM, PreTrainedModel

from gptapps.backbone.gguf_checkpoint import read_gguf
from gptapps.backbone.gguf_file import GGUFFile
from gptapps.errors import CheckpointError, UnsupportedModelError
from gptapps.heads.loading import load_language_model, save_language_model

_ROUND = {"vocab_size": 99, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


def same_logits(path: Path, theirs: PreTrainedModel) -> None:
    backbone, head = load_language_model(path)
    tokens = random_tokens(2, TOKENS)
    theirs(input_ids=tokens[:, :1])
    expected = theirs(input_ids=tokens).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(head(backbone(tokens)), expected, atol=1e-4, rtol=0)


def tiny_of_case(name: str, **changes: Any) -> PreTrainedModel:
    model_type, values = CASES[name]
    return make_theirs(model_type, values | changes)


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        "llama-tied",
        "llama-biased",
        "llama-linear",
        "llama-yarn",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma3",
        "gpt2",
        "gpt2-untied",
        "gpt_neox",
        "gpt_neox-sequential",
    ],
)
def test_architectures(name: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {}
    if name == "gpt2-untied":
        changes = {"n_inner": None, "activation_function": "gelu_new"}
    elif name == "gemma3":
        changes = {"query_pre_attn_scalar": 12, "final_logit_softcapping": 10.0}
    elif name == "qwen3":
        changes = {"attention_bias": False}
    elif name == "gpt_neox-sequential":
        changes = {"hidden_act": "gelu"}
    theirs = tiny_of_case(name, **changes)
    write_gguf(theirs, tmp_path / "model.gguf")
    same_logits(tmp_path / "model.gguf", theirs)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1])
def test_tensor_types(kind: Kind, tmp_path: Path) -> None:
    theirs = make_theirs("llama", _ROUND | {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16})
    write_gguf(theirs, tmp_path / "model.gguf", kind)
    same_logits(tmp_path / "model.gguf", theirs)
    same_tensors(tmp_path / "model.gguf", kind)


@pytest.mark.parametrize("kind", [Kind.Q4_K, Kind.Q6_K])
def test_tensor_types_in_blocks_of_256(kind: Kind, tmp_path: Path) -> None:
    theirs = make_theirs("llama", _ROUND | {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1})
    write_gguf(theirs, tmp_path / "model.gguf", kind)
    same_logits(tmp_path / "model.gguf", theirs)
    same_tensors(tmp_path / "model.gguf", kind)


def same_tensors(path: Path, kind: Kind) -> None:
    ours = GGUFFile(path)
    reader = gguf.GGUFReader(path)
    assert list(ours.names()) == [tensor.name for tensor in reader.tensors]
    assert {tensor.tensor_type for tensor in reader.tensors} == {kind, Kind.F32}
    for tensor in reader.tensors:
        expected = dequantize(tensor.data, tensor.tensor_type)
        assert ours.shape(tensor.name) == expected.shape
        np.testing.assert_array_equal(ours.read(tensor.name).numpy(), expected)


def test_rotary_factors_in_a_tensor(tmp_path: Path) -> None:
    theirs = tiny_of_case("llama-llama3")
    scaled = theirs.model.rotary_emb.inv_freq
    plain = 10_000.0 ** (-torch.arange(0, 12, 2) / 12)
    assert not torch.allclose(plain, scaled)
    write_gguf(
        theirs,
        tmp_path / "model.gguf",
        change=lambda writer, label: writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy()),
    )
    same_logits(tmp_path / "model.gguf", theirs)


def test_what_came_from_gguf_is_saved_for_transformers(tmp_path: Path) -> None:
    theirs = tiny_of_case("gemma3", query_pre_attn_scalar=12)
    write_gguf(theirs, tmp_path / "model.gguf")
    save_language_model(*load_language_model(tmp_path / "model.gguf"), tmp_path / "saved")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    tokens = random_tokens(2, TOKENS)
    torch.testing.assert_close(saved(input_ids=tokens).logits, theirs(input_ids=tokens).logits, atol=1e-4, rtol=0)


def test_the_scores_of_gemma_27b(tmp_path: Path) -> None:
    theirs = tiny_of_case("gemma3", num_hidden_layers=62, query_pre_attn_scalar=8)
    write_gguf(theirs, tmp_path / "model.gguf")
    assert read_gguf(tmp_path / "model.gguf").config.attention.scale == 8**-0.5  # 32 channels, 4 heads


def test_metadata_of_every_type(tmp_path: Path) -> None:
    values: dict[str, tuple[str, Any]] = {
        "a.u8": ("uint8", 200),
        "a.i8": ("int8", -5),
        "a.u16": ("uint16", 60_000),
        "a.i16": ("int16", -300),
        "a.u32": ("uint32", 4_000_000_000),
        "a.i32": ("int32", -70_000),
        "a.f32": ("float32", 0.5),
        "a.u64": ("uint64", 2**63),
        "a.i64": ("int64", -(2**62)),
        "a.f64": ("float64", 0.1),
        "a.bool": ("bool", True),
        "a.text": ("string", "héllo 世界"),
        "a.words": ("array", ["", "one", "世界"]),
        "a.numbers": ("array", [1, -2, 3]),
        "a.fractions": ("array", [0.5, 0.25]),
    }
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    for key, (kind, value) in values.items():
        getattr(writer, f"add_{kind}")(key, value)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    file = GGUFFile(tmp_path / "model.gguf")
    assert {key: file.get(key) for key in values} == {key: value for key, (_, value) in values.items()}
    assert set(values) < set(file.fields())
    assert file.get("nothing", 7) == 7


@pytest.fixture
def llama_gguf(tmp_path: Path) -> Path:
    write_gguf(tiny_of_case("llama"), tmp_path / "model.gguf")
    return tmp_path / "model.gguf"


def refused(path: Path, message: str, kind: type[Exception] = CheckpointError) -> None:
    with pytest.raises(kind, match=message) as caught:
        load_language_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [3, 10, 40, 300, 900, -4000, -1])
def test_a_truncated_file(kept: int, llama_gguf: Path) -> None:
    llama_gguf.write_bytes(llama_gguf.read_bytes()[:kept])
    refused(llama_gguf, r"is (truncated|no GGUF file)")


def test_an_empty_file(llama_gguf: Path) -> None:
    llama_gguf.write_bytes(b"")
    refused(llama_gguf, "can't be read")


def test_another_file(llama_gguf: Path) -> None:
    llama_gguf.write_bytes(b"PK\x03\x04" + b"x" * 100)
    refused(llama_gguf, "is no GGUF file: it doesn't begin with those letters")


@pytest.mark.parametrize("version", [1, 4, 3 << 24])
def test_another_version(version: int, llama_gguf: Path) -> None:
    llama_gguf.write_bytes(b"GGUF" + struct.pack("<I", version) + llama_gguf.read_bytes()[8:])
    refused(llama_gguf, f"is GGUF of version {version}", UnsupportedModelError)


def complaint_about(path: Path) -> str | None:
    try:
        read_gguf(path)
    except (CheckpointError, UnsupportedModelError) as error:
        return str(error)
    return None


def test_every_damaged_header_is_one_sentence(llama_gguf: Path) -> None:
    whole = llama_gguf.read_bytes()
    noise = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in noise.integers(8, 1500, 3):
            damaged[place] = noise.integers(256)
        llama_gguf.write_bytes(damaged)
        assert "\n" not in (complaint_about(llama_gguf) or "")


def test_an_unknown_architecture(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "lama")
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    refused(
        tmp_path / "model.gguf",
        r"holds a 'lama' model, .* Did you mean 'llama'\? Known GGUF architectures: gemma3, gpt2, .*\.$",
        UnsupportedModelError,
    )


def test_a_tensor_type_nobody_dequantizes(tmp_path: Path) -> None:
    theirs = tiny_of_case("llama")
    theirs.lm_head = None
    write_gguf(
        theirs,
        tmp_path / "model.gguf",
        change=lambda writer, label: writer.add_tensor("output.weight", np.ones((99, 32), np.int8)),
    )
    refused(tmp_path / "model.gguf", r"holds output\.weight as I8, which can't be read", UnsupportedModelError)


def test_a_tensor_type_from_the_future(llama_gguf: Path) -> None:
    whole = llama_gguf.read_bytes()
    at = whole.index(b"token_embd.weight") + len(b"token_embd.weight") + 4 + 2 * 8
    llama_gguf.write_bytes(whole[:at] + struct.pack("<I", 4242) + whole[at + 4 :])
    refused(llama_gguf, r"holds token_embd\.weight in the tensor type 4242", UnsupportedModelError)


def test_a_tensor_too_many(tmp_path: Path) -> None:
    write_gguf(
        tiny_of_case("llama"),
        tmp_path / "model.gguf",
        change=lambda writer, label: writer.add_tensor("blk.0.attn_sinks.weight", np.ones(4, np.float32)),
    )
    refused(tmp_path / "model.gguf", r"doesn't have: blk\.0\.attn_sinks\.weight\.$")


def test_a_tensor_is_missing(tmp_path: Path) -> None:
    theirs = tiny_of_case("llama")
    theirs.model.layers[1].mlp.up_proj = None
    write_gguf(theirs, tmp_path / "model.gguf")
    refused(tmp_path / "model.gguf", r"lacks blk\.1\.ffn_up\.weight\.$")


def test_no_metadata_of_the_architecture(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "gpt2")
    writer.add_tensor("token_embd.weight", np.ones((9, 4), np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    refused(tmp_path / "model.gguf", "lacks|doesn't say")


def test_a_mixture_of_experts(tmp_path: Path) -> None:
    write_gguf(tiny_of_case("llama"), tmp_path / "model.gguf", change=lambda writer, label: writer.add_expert_count(8))
    refused(tmp_path / "model.gguf", "mixture of experts", UnsupportedModelError)


def test_a_rotary_scaling_nobody_knows(tmp_path: Path) -> None:
    write_gguf(
        tiny_of_case("llama"),
        tmp_path / "model.gguf",
        change=lambda writer, label: writer.add_string(f"{label}.rope.scaling.type", "longrope"),
    )
    refused(tmp_path / "model.gguf", "scales its rotary positions by 'longrope'", UnsupportedModelError)
