"""Rows of numbers that are worked out once, each under a key, and mapped into memory; a kill costs the last batch.

rows.json      what they are rows of: others are thrown away
rows.f32       (N, F) float32, in the order they were worked out
rows.keys      16 bytes for each row, written behind it: a row without them is worked out again
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from gptapps.cache_files import durable

FloatArray = npt.NDArray[np.float32]

KEY_BYTES = 16


class RowStore:
    """Rows in a folder of their own, which one process at a time may use.

    Args:
        folder: made where it isn't there.
        identity: what the rows are of, for JSON.
        size: F.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], size: int) -> None:
        self._rows, self._keys, self._size = folder / "rows.f32", folder / "rows.keys", size
        folder.mkdir(parents=True, exist_ok=True)
        if not _says(folder / "rows.json", identity):
            for stale in (folder / "rows.json", self._keys, self._rows):
                stale.unlink(missing_ok=True)
            with durable(folder / "rows.json") as file:
                file.write((json.dumps(identity, indent=2) + "\n").encode())
        self._places = self._known()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def add(self, keys: Sequence[bytes], rows: FloatArray) -> None:
        """Put rows (N, F) on the disk, each under a key that isn't there yet."""
        with self._rows.open("ab") as file:
            _append(file, np.ascontiguousarray(rows, np.float32).tobytes())
        with self._keys.open("ab") as file:
            _append(file, b"".join(keys))
        for key in keys:
            self._places[key] = len(self._places)

    def mapped(self) -> FloatArray:
        """Return all rows (N, F), mapped."""
        if not self._places:
            return np.empty((0, self._size), np.float32)
        return np.memmap(self._rows, np.float32, "r", shape=(len(self._places), self._size))

    def places(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return where the rows of keys stand."""
        return np.array([self._places[key] for key in keys], np.int64)

    def _known(self) -> dict[bytes, int]:
        row_bytes = 4 * self._size
        whole = min(_bytes(self._rows) // row_bytes, _bytes(self._keys) // KEY_BYTES)
        for file, size in ((self._rows, row_bytes), (self._keys, KEY_BYTES)):
            if _bytes(file) > whole * size:  # a kill came between the two, or inside one
                os.truncate(file, whole * size)
        known = self._keys.read_bytes() if whole else b""
        return {known[start : start + KEY_BYTES]: start // KEY_BYTES for start in range(0, len(known), KEY_BYTES)}


def _says(file: Path, identity: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(file.read_bytes()) == identity)
    except (OSError, ValueError):
        return False


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _append(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
