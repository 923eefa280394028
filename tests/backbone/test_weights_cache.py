"""Dequantized weights are kept once, whole or not at all, and made again where they are damaged."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf.constants import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file
from tiny_gguf import write_gguf
from tiny_models import make_theirs, random_tokens

from gptapps.backbone import safetensors_files
from gptapps.backbone.weights import Weights
from gptapps.backbone.weights_cache import FILE, cached_weights
from gptapps.errors import ResourceError
from gptapps.heads import loading
from gptapps.heads.loading import load_language_model

_SHAPE = {
    "vocab_size": 99,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_gguf(make_theirs("llama", _SHAPE), tmp_path / "model.gguf", Kind.Q8_0)
    return tmp_path / "model.gguf"


@pytest.fixture
def made(file: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that was dequantized."""
    seen: list[Path] = []
    read = loading._read_gguf

    def counted(path: Path) -> Weights:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(loading, "_read_gguf", counted)
    return seen


def logits(file: Path, derived: Path | None, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    backbone, head = load_language_model(file, derived=derived, dtype=dtype)
    result: torch.Tensor = head(backbone(random_tokens(2, 9)))
    return result


def test_the_second_time_nothing_is_dequantized(file: Path, made: list[Path], tmp_path: Path) -> None:
    expected = logits(file, None)
    first, second = (logits(file, tmp_path / "kept") for _ in range(2))
    assert made == [file, file]
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)


def test_another_type_from_the_same_cache(file: Path, made: list[Path], tmp_path: Path) -> None:
    logits(file, tmp_path / "kept")
    half = logits(file, tmp_path / "kept", torch.bfloat16)
    assert made == [file]
    assert half.dtype is torch.bfloat16
    torch.testing.assert_close(half, logits(file, None, torch.bfloat16))


def test_a_tied_projection_is_kept_once(tmp_path: Path) -> None:
    write_gguf(make_theirs("llama", _SHAPE | {"tie_word_embeddings": True}), tmp_path / "tied.gguf")
    backbone, head = load_language_model(tmp_path / "tied.gguf", derived=tmp_path / "kept")
    assert head.projection.weight is backbone.token_embedding.weight
    kept = load_file(tmp_path / "kept" / FILE)
    assert set(kept) == set(dict(backbone.named_parameters()))
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}


def test_weights_are_mapped_not_copied(file: Path, tmp_path: Path) -> None:
    for _ in range(2):
        backbone, _ = load_language_model(file, derived=tmp_path / "kept")
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system doesn't say what is mapped")
    spans = [line.split()[0].split("-") for line in maps.read_text().splitlines() if line.endswith(FILE)]
    address = backbone.token_embedding.weight.data_ptr()
    assert any(int(start, 16) <= address < int(end, 16) for start, end in spans)


def truncate(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:-50])


def scribble(kept: Path) -> None:
    kept.write_bytes(b"\xff" * 100)


def lose_a_tensor(kept: Path) -> None:
    metadata = safetensors_files.open_safetensors(kept).metadata()
    tensors = {name: tensor.clone() for name, tensor in load_file(kept).items() if name != "final_norm.weight"}
    save_file(tensors, kept, metadata)


def other_version(kept: Path) -> None:
    metadata = safetensors_files.open_safetensors(kept).metadata()
    save_file({name: torch.zeros_like(t) for name, t in load_file(kept).items()}, kept, metadata | {"version": "0"})


def other_configuration(kept: Path) -> None:
    metadata = safetensors_files.open_safetensors(kept).metadata()
    config = json.dumps(json.loads(metadata["config"]) | {"model_type": "lama"})
    save_file({name: torch.zeros_like(t) for name, t in load_file(kept).items()}, kept, metadata | {"config": config})


@pytest.mark.parametrize("damage", [truncate, scribble, lose_a_tensor, other_version, other_configuration])
def test_what_is_damaged_is_made_again(
    damage: Callable[[Path], None], file: Path, made: list[Path], tmp_path: Path
) -> None:
    expected = logits(file, tmp_path / "kept")
    damage(tmp_path / "kept" / FILE)
    assert torch.equal(logits(file, tmp_path / "kept"), expected)
    assert torch.equal(logits(file, tmp_path / "kept"), expected)
    assert made == [file, file]


def test_what_a_killed_process_left_is_swept(file: Path, tmp_path: Path) -> None:
    left = tmp_path / "kept" / f".{FILE}.12345.partial"
    left.parent.mkdir()
    left.write_bytes(b"half")
    logits(file, tmp_path / "kept")
    assert not left.exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> Weights:
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        cached_weights(tmp_path / "kept", fail)
    assert not (tmp_path / "kept" / FILE).exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_directory_that_cannot_be_written(
    number: int, file: Path, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = logits(file, None)

    def denied(*arguments: object, **options: object) -> None:
        raise OSError(number, "not here")

    monkeypatch.setattr(Path, "mkdir", denied)
    assert torch.equal(logits(file, tmp_path / "kept"), expected)
    assert not (tmp_path / "kept").exists()


def test_a_full_disk(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(safetensors_files, "save_file", full)
    with pytest.raises(ResourceError, match="The disk is full"):
        logits(file, tmp_path / "kept")
    assert [kept.suffix for kept in (tmp_path / "kept").iterdir()] in ([], [".lock"])


def test_threads_make_it_once(file: Path, made: list[Path], tmp_path: Path) -> None:
    results: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: results.append(logits(file, tmp_path / "kept"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [file]
    assert len(results) == 4
    torch.testing.assert_close(torch.stack(results), results[0].expand(4, -1, -1, -1))


def test_two_processes_at_once(file: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gptapps.heads.loading import load_language_model;"
        "b, h = load_language_model(Path(sys.argv[1]), derived=Path(sys.argv[2]));"
        "print(float(b.token_embedding.weight.double().sum()))"
    )
    command = [sys.executable, "-c", code, str(file), str(tmp_path / "kept")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1] != ""
    assert not list((tmp_path / "kept").glob("*.partial"))
