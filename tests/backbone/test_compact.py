"""Matrices that are kept in the bits of their file compute what widened ones do, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Kind
from gguf.quants import dequantize
from hypothesis import given
from hypothesis import strategies as st

from gptapps.backbone.checkpoint import read_checkpoint
from gptapps.backbone.compact import Compact, CompactLinear, CompactMatrix, is_compact
from gptapps.backbone.gguf_blocks import KINDS, take_apart
from gptapps.errors import OptionError
from gptapps.heads.loading import layers_anew, load_language_model
from tests.backbone.test_gguf import tiny_of_case
from tests.backbone.tiny_gguf import write_gguf
from tests.backbone.tiny_models import make_theirs

_HALVES_AT = {Kind.Q6_K: (208,), Kind.Q4_1: (0, 2), Kind.Q5_1: (0, 2), Kind.Q4_K: (0, 2), Kind.Q5_K: (0, 2)}
_SIZES = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16}


@pytest.mark.parametrize("kind", list(KINDS), ids=lambda kind: kind.name)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 40))
def test_any_blocks_are_what_the_gguf_package_reads(kind: Kind, seed: int, blocks: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, (blocks, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for place in _HALVES_AT.get(kind, (0,)):
        raw[:, place + 1] &= 0xBB  # a float16 number that is neither infinite nor NaN
    numbers, scales, offsets = take_apart(torch.from_numpy(raw), kind)
    flat = CompactMatrix(
        numbers.reshape(blocks, -1),
        scales.reshape(blocks, -1),
        None if offsets is None else offsets.reshape(blocks, -1),
    )
    expected = dequantize(raw, kind)
    assert numbers.dtype == torch.int8
    np.testing.assert_array_equal(flat.widened(slice(None), torch.float32).numpy(), expected)
    places = torch.from_numpy(np.random.default_rng(seed).integers(0, expected.size, 50))
    np.testing.assert_array_equal(flat.at(places).numpy(), expected.reshape(-1)[places.numpy()])


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1])
@pytest.mark.parametrize("tied", [True, False])
def test_a_gguf_file(kind: Kind, tied: bool, tmp_path: Path) -> None:
    write_gguf(make_theirs("llama", _SIZES | {"tie_word_embeddings": tied}), tmp_path / "model.gguf", kind)
    same_as_widened(tmp_path / "model.gguf")


@pytest.mark.parametrize("kind", [Kind.Q4_K, Kind.Q6_K])
def test_a_gguf_file_in_blocks_of_256(kind: Kind, tmp_path: Path) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
    write_gguf(make_theirs("llama", sizes), tmp_path / "model.gguf", kind)
    same_as_widened(tmp_path / "model.gguf")


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gemma3", "qwen2"])
@pytest.mark.parametrize("kind", [Kind.BF16, Kind.F16])
def test_other_architectures(name: str, kind: Kind, tmp_path: Path) -> None:
    write_gguf(tiny_of_case(name), tmp_path / "model.gguf", kind)
    same_as_widened(tmp_path / "model.gguf")


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_directory_in_16_bits(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    tiny_of_case(name).to(dtype).save_pretrained(tmp_path)
    same_as_widened(tmp_path)


def same_as_widened(path: Path) -> None:
    backbone, head = load_language_model(path)
    compact, compact_head = load_language_model(path, low_memory=True)
    tokens = torch.arange(12).view(2, 6)
    with torch.inference_mode():
        hidden = compact(tokens)
        assert torch.equal(hidden, backbone(tokens))
        torch.testing.assert_close(compact_head(hidden), head(hidden), atol=1e-6, rtol=1e-6)
    assert compact.dtype == torch.float32
    dense = [name for name, tensor in compact.named_parameters() if tensor.dim() == 2]
    assert dense == [], "matrices that are held widened"
    assert is_compact(compact)
    assert held_bytes(compact) < held_bytes(backbone) * 0.6


def held_bytes(model: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def test_parts_of_several_types_in_one_matrix(tmp_path: Path) -> None:
    """As in files that keep values in more bits than queries and keys."""
    kinds = {"q_proj": Kind.Q4_0, "k_proj": Kind.Q5_1, "v_proj": Kind.Q8_0, "gate_proj": Kind.Q4_1, "up_proj": Kind.F16}
    theirs = make_theirs("llama", _SIZES)
    write_gguf(
        theirs,
        tmp_path / "model.gguf",
        lambda name: next((kind for part, kind in kinds.items() if part in name), Kind.Q8_0),
    )
    backbone, _ = load_language_model(tmp_path / "model.gguf")
    compact, _ = load_language_model(tmp_path / "model.gguf", low_memory=True)
    tokens = torch.arange(12).view(2, 6)
    with torch.inference_mode():
        assert torch.equal(compact(tokens), backbone(tokens))
    layers = dict(compact.named_modules())
    assert isinstance(layers["blocks.0.attention.qkv"], Compact)
    assert not isinstance(layers["blocks.0.feed_forward.gate_up"], Compact)  # 4 and 16 bits have no type in common


def test_groups_of_16_and_32(tmp_path: Path) -> None:
    kinds = {"v_proj": Kind.Q6_K, "q_proj": Kind.Q8_0, "k_proj": Kind.Q4_K}
    theirs = make_theirs("llama", {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1})
    write_gguf(
        theirs,
        tmp_path / "model.gguf",
        lambda name: next((kind for part, kind in kinds.items() if part in name), Kind.Q8_0),
    )
    same_as_widened(tmp_path / "model.gguf")


def test_a_computing_type_narrower_than_float32(tmp_path: Path) -> None:
    write_gguf(make_theirs("llama", _SIZES), tmp_path / "model.gguf", Kind.Q8_0)
    backbone, _ = load_language_model(tmp_path / "model.gguf", dtype=torch.bfloat16)
    compact, _ = load_language_model(tmp_path / "model.gguf", dtype=torch.bfloat16, low_memory=True)
    tokens = torch.arange(12).view(2, 6)
    with torch.inference_mode():
        assert torch.equal(compact(tokens), backbone(tokens))
    assert compact.dtype == torch.bfloat16


def test_a_large_matrix_is_widened_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptapps.backbone.compact._PIECE_FOR_FEW", 100)
    monkeypatch.setattr("gptapps.backbone.compact._PIECE_FOR_MANY", 200)
    seen: list[int] = []
    plain = CompactMatrix.widened

    def counted(self: CompactMatrix, rows: slice, dtype: torch.dtype) -> torch.Tensor:
        found = plain(self, rows, dtype)
        seen.append(found.numel())
        return found

    monkeypatch.setattr(CompactMatrix, "widened", counted)
    matrix = torch.randn(37, 16).to(torch.bfloat16)
    bias = torch.nn.Parameter(torch.randn(37))
    x = torch.randn(5, 16)
    layer = CompactLinear(CompactMatrix(matrix), torch.float32, bias)
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, matrix.float(), bias))
    assert seen == [96] * 6 + [16]
    seen.clear()
    many = torch.randn(70, 16)
    torch.testing.assert_close(layer(many), torch.nn.functional.linear(many, matrix.float(), bias))
    assert seen == [192] * 3 + [16]


def test_nothing_to_save(tmp_path: Path) -> None:
    make_theirs("llama", _SIZES).save_pretrained(tmp_path)
    assert read_checkpoint(tmp_path).tensors["token_embedding.weight"].dtype == torch.float32
    write_gguf(make_theirs("llama", _SIZES), tmp_path / "model.gguf", Kind.F16)
    for path, dtype in ((tmp_path, torch.float32), (tmp_path / "model.gguf", torch.bfloat16)):
        with pytest.raises(
            OptionError, match=r"as many bits as it is computed with, so low_memory has nothing to save"
        ):
            load_language_model(path, dtype=dtype, low_memory=True)


def test_a_type_that_cannot_be_kept(tmp_path: Path) -> None:
    theirs = make_theirs("llama", {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1})
    write_gguf(theirs, tmp_path / "model.gguf", Kind.TQ1_0)
    with pytest.raises(OptionError, match=r"as TQ1_0, which can't be kept as it is: leave low_memory out"):
        load_language_model(tmp_path / "model.gguf", low_memory=True)


def test_compact_layers_are_not_changed(tmp_path: Path) -> None:
    write_gguf(make_theirs("llama", _SIZES), tmp_path / "model.gguf", Kind.Q8_0)
    with pytest.raises(OptionError, match=r"can't be changed by an adapter or by training: leave it out"):
        layers_anew(*load_language_model(tmp_path / "model.gguf", low_memory=True))
