"""Safetensors files: read lazily through a memory map, written whole or in shards, each file at once."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gptapps.errors import CheckpointError, ResourceError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class SafetensorsSource:
    """The tensors of one or several safetensors files, mapped into memory and read when asked for.

    Args:
        place: what a message should call the whole.
        files: the files.

    Raises:
        CheckpointError: a file is absent, truncated or damaged.
    """

    def __init__(self, place: str, files: Iterable[Path]) -> None:
        self.place = place
        self._files: dict[str, tuple[Path, Any]] = {}
        self.metadata: dict[str, str] = {}
        for file in files:
            handle = open_safetensors(file)
            self.metadata |= handle.metadata() or {}
            self._files |= dict.fromkeys(handle.keys(), (file, handle))

    def names(self) -> Iterable[str]:
        """Return every tensor's name."""
        return self._files.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return tuple(self._files[name][1].get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        """Return a tensor that shares the file's mapped memory.

        Raises:
            CheckpointError: it holds no floating-point numbers.
        """
        file, handle = self._files[name]
        tensor: Tensor = handle.get_tensor(name)
        if not tensor.is_floating_point():
            raise CheckpointError(f"{file} holds {name} as {tensor.dtype}: gptapps reads floating-point weights only.")
        return tensor


def open_safetensors(file: Path) -> Any:
    """Open one file.

    Raises:
        CheckpointError: it is absent, truncated or damaged.
    """
    try:
        return safe_open(file, framework="pt", device="cpu")
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing: fetch the whole checkpoint again.") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is truncated or damaged ({error}): fetch it again.") from error


def find_safetensors(directory: Path) -> list[Path]:
    """Return the files that hold a checkpoint's tensors.

    Raises:
        CheckpointError: there are none, or pickles in their place.
    """
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    if (directory / INDEX).is_file():
        shards = read_json(directory / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
            raise CheckpointError(f"{directory / INDEX} has no weight_map that names files: fetch it again.")
        return [directory / Path(name).name for name in sorted(set(shards.values()))]
    pickles = sorted(file.name for pattern in _PICKLES for file in directory.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{directory} holds its weights as {pickles[0]}, a pickle, and pickles are never loaded because they can "
            "run any code: convert it where you trust it, with transformers' from_pretrained and save_pretrained."
        )
    raise CheckpointError(f"{directory} holds no {SINGLE}: is it a model directory in the Hugging Face layout?")


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        CheckpointError: it is absent, no JSON, or no object.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing: a model directory in the Hugging Face layout has one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} can't be read: {error}.") from error
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{file} is no JSON: {error.msg} in line {error.lineno}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} holds no JSON object.")
    return values


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file at once: a reader sees the old one or the new one.

    Raises:
        ResourceError: the disk is full.
    """
    with _written_aside(file) as aside:
        aside.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_safetensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file at once: a reader sees the old one or the new one.

    Raises:
        ResourceError: the disk is full.
    """
    with _written_aside(file) as aside:
        aside.touch()
        mode = aside.stat().st_mode  # save_file leaves a file that its owner alone can read
        save_file({name: _alone(tensor) for name, tensor in tensors.items()}, aside, dict(metadata))
        aside.chmod(mode)


def write_shards(directory: Path, tensors: Iterable[tuple[str, Tensor]], max_shard_bytes: int) -> None:
    """Write a checkpoint's tensors, in one file or in shards with an index, and remove what they replace.

    Args:
        directory: where to.
        tensors: names and values, in order.
        max_shard_bytes: the most one file may hold; a single larger tensor has a file of its own.

    Raises:
        ResourceError: the disk is full.
    """
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors:
        if shards[-1] and filled + tensor.nbytes > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.nbytes
    names = [SINGLE] if len(shards) == 1 else [_shard_name(i, len(shards)) for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        write_safetensors(directory / name, shard, {"format": "pt"})
    if len(shards) > 1:
        total = sum(tensor.nbytes for shard in shards for tensor in shard.values())
        places = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
        names.append(INDEX)
    for stale in (*directory.glob("model*.safetensors"), directory / INDEX):
        if stale.name not in names:
            stale.unlink(missing_ok=True)


def is_disk_full(error: Exception) -> bool:
    """Return whether a failed write means that there is no room; safetensors tells the system's error as text."""
    return getattr(error, "errno", None) in _NO_SPACE or any(f"(os error {code})" in str(error) for code in _NO_SPACE)


def _shard_name(number: int, count: int) -> str:
    return f"model-{number:05d}-of-{count:05d}.safetensors"


def _alone(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().to("cpu").contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


@contextmanager
def _written_aside(file: Path) -> Iterator[Path]:
    aside = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        yield aside
        os.replace(aside, file)
    except (OSError, SafetensorError) as error:
        if is_disk_full(error):
            raise ResourceError(f"The disk is full: {file} could not be written.") from error
        raise
    finally:
        aside.unlink(missing_ok=True)
