"""The features of texts that were read lately, for as much memory as they may take."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

_BYTES = 512 << 20

Row = npt.NDArray[np.float32]


class FeatureMemory:
    """Rows by key; those that weren't asked for longest go first. Thread-safe.

    Args:
        max_bytes: of all rows together.

    Example:
        >>> memory = FeatureMemory(max_bytes=8)
        >>> memory.put("a", np.zeros(2, np.float32)); memory.put("b", np.ones(2, np.float32))
        >>> memory.get("a") is None, memory.get("b").tolist()
        (True, [1.0, 1.0])
    """

    def __init__(self, max_bytes: int = _BYTES) -> None:
        self._max_bytes = max_bytes
        self._rows: OrderedDict[Hashable, Row] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Row | None:
        """Return the row of a key, None where it isn't there."""
        with self._lock:
            row = self._rows.get(key)
            if row is not None:
                self._rows.move_to_end(key)
            return row

    def put(self, key: Hashable, row: Row) -> None:
        """Keep a row."""
        with self._lock:
            if key in self._rows:
                return
            self._rows[key] = row.copy()  # not the batch that it is a part of
            self._bytes += row.nbytes
            while self._bytes > self._max_bytes and len(self._rows) > 1:
                _, oldest = self._rows.popitem(last=False)
                self._bytes -= oldest.nbytes
