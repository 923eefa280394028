"""The header of a GGUF file: metadata and where each tensor lies.

The gguf package's reader makes arrays of every element of every list, which takes 19 seconds for a vocabulary
of 262,144 tokens; here lists are decoded when asked for, and the header is read in milliseconds. Types, block
sizes and dequantization stay the package's.

Source: the GGUF specification, version 3 (versions 2 and 3 share the layout).
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray
from torch import Tensor

from gptapps.errors import CheckpointError, UnsupportedModelError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_JOINED_ROWS = 64


@dataclass(frozen=True, slots=True)
class _Place:
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    start: int
    size: int


class GGUFFile:
    """A GGUF file mapped into memory.

    Args:
        path: the file.

    Attributes:
        place: the file, as messages name it.

    Raises:
        CheckpointError: it is no GGUF file, truncated or damaged.
        UnsupportedModelError: its version or a tensor's type is unknown.

    Example:
        >>> GGUFFile(Path("model.gguf")).get("general.architecture")       # doctest: +SKIP
        'llama'
    """

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} can't be read: {error}.") from error
        self._values: dict[str, tuple[int, int]] = {}
        self._places: dict[str, _Place] = {}
        self._at = 0
        try:
            self._read_header()
        except (struct.error, UnicodeDecodeError, OverflowError) as error:
            raise self._damaged() from error

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the metadata: a number, a string, or a list, which is decoded anew each time."""
        return self._value(*self._values[key])[0] if key in self._values else default

    def fields(self) -> Iterable[str]:
        """Return the names of the metadata."""
        return self._values.keys()

    def names(self) -> Iterable[str]:
        """Return every tensor's name."""
        return self._places.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, (rows, columns) for a matrix."""
        return self._places[name].shape

    def read(self, name: str) -> Tensor:
        """Return a tensor's values in float32.

        Raises:
            UnsupportedModelError: the gguf package can't dequantize its type.
        """
        place = self._places[name]
        raw = self._raw(place)
        if place.kind is GGMLQuantizationType.F32:
            return torch.from_numpy(raw.view(np.float32).reshape(place.shape).copy())
        # The package goes 16 rows at a time; blocks don't know where a row ends, so longer rows mean fewer steps.
        joined = math.gcd(place.shape[0], _JOINED_ROWS) if len(place.shape) > 1 else 1
        try:
            values = dequantize(raw.reshape(math.prod(place.shape[:-1]) // joined, -1), place.kind)
            return torch.from_numpy(values.reshape(place.shape))
        except NotImplementedError as error:
            raise UnsupportedModelError(
                f"{self.place} holds {name} as {place.kind.name}, which can't be read: take another quantization."
            ) from error

    def kind(self, name: str) -> GGMLQuantizationType:
        """Return a tensor's type."""
        return self._places[name].kind

    def blocks(self, name: str) -> NDArray[np.uint8]:
        """Return a tensor's bytes, (blocks, bytes of a block), which lie in the mapped file."""
        place = self._places[name]
        return self._raw(place).reshape(-1, GGML_QUANT_SIZES[place.kind][1])

    def _raw(self, place: _Place) -> NDArray[np.uint8]:
        return np.frombuffer(self._bytes, np.uint8, place.size, place.start)

    def _damaged(self) -> CheckpointError:
        return CheckpointError(f"{self.place} is truncated or damaged: fetch it again.")

    def _read_header(self) -> None:
        if self._bytes[:4] != b"GGUF":
            raise CheckpointError(f"{self.place} is no GGUF file: it doesn't begin with those letters.")
        self._at = 4
        version = self._number("I")
        if version not in (2, 3):
            raise UnsupportedModelError(
                f"{self.place} is GGUF of version {version}, and gptapps reads 2 and 3 in little-endian order."
            )
        tensors, values = self._number("Q"), self._number("Q")
        for _ in range(values):
            key = self._string()
            kind = self._number("I")
            self._values[key] = kind, self._at
            self._at = self._end(kind, self._at)
        infos = [self._tensor_info() for _ in range(tensors)]
        alignment = self.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise self._damaged()
        base = -(-self._at // alignment) * alignment
        for name, kind, shape, offset in infos:
            self._places[name] = self._place(name, kind, shape, base + offset)

    def _tensor_info(self) -> tuple[str, int, tuple[int, ...], int]:
        name = self._string()
        shape = tuple(reversed([self._number("Q") for _ in range(self._number("I"))]))
        return name, self._number("I"), shape, self._number("Q")

    def _place(self, name: str, kind: int, shape: tuple[int, ...], start: int) -> _Place:
        try:
            known = GGMLQuantizationType(kind)
        except ValueError as error:
            raise UnsupportedModelError(
                f"{self.place} holds {name} in the tensor type {kind}, which nobody here knows: "
                "a newer version of the gguf package may."
            ) from error
        block, block_bytes = GGML_QUANT_SIZES[known]
        count = math.prod(shape)
        if not shape or shape[-1] % block:
            raise self._damaged()
        size = count // block * block_bytes
        if start + size > len(self._bytes):
            raise CheckpointError(
                f"{self.place} is truncated: {name} ends at byte {start + size:,} "
                f"of a file of {len(self._bytes):,}; fetch it again."
            )
        return _Place(known, shape, start, size)

    def _number(self, code: str) -> int:
        (value,) = struct.unpack_from(f"<{code}", self._bytes, self._at)
        self._at += struct.calcsize(code)
        return int(value)

    def _string(self) -> str:
        value, self._at = self._value(_STRING, self._at)
        return str(value)

    def _value(self, kind: int, start: int) -> tuple[Any, int]:
        end = self._end(kind, start)
        if kind == _STRING:
            return self._bytes[start + 8 : end].decode("utf-8"), end
        if kind != _ARRAY:
            return struct.unpack_from(f"<{_SCALARS[kind]}", self._bytes, start)[0], end
        inner, count = struct.unpack_from("<IQ", self._bytes, start)
        if inner in _SCALARS:
            return list(struct.unpack_from(f"<{count}{_SCALARS[inner]}", self._bytes, start + 12)), end
        items, at = [], start + 12
        for _ in range(count):
            item, at = self._value(inner, at)
            items.append(item)
        return items, end

    def _end(self, kind: int, start: int) -> int:
        if kind in _SCALARS:
            end = start + struct.calcsize(f"<{_SCALARS[kind]}")
        elif kind == _STRING:
            end = start + 8 + struct.unpack_from("<Q", self._bytes, start)[0]
        elif kind == _ARRAY:
            inner, count = struct.unpack_from("<IQ", self._bytes, start)
            end = start + 12
            if inner in _SCALARS:
                end += count * struct.calcsize(f"<{_SCALARS[inner]}")
            else:
                for _ in range(count):
                    end = self._end(inner, end)
        else:
            raise self._damaged()
        if end > len(self._bytes):
            raise self._damaged()
        return end
