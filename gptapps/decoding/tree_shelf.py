"""What one call has read, kept for the next one: a prefix tree that goes from call to call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import KEPT_BYTES, PrefixTree

_Weights = tuple[tuple[int, int], ...]  # for each where it lies, and how often it was written


class TreeShelf:
    """Holds the prefix tree of a pipeline while no call uses it.

    A call takes the tree from the shelf, has it for itself, and puts it back with at most 64 MiB in it. Calls that run
    at the same time in other threads find the shelf empty and begin with a tree of their own, so nothing is locked
    while the model works. Weights that changed in the meantime make the tree worthless, so it begins anew.

    Args:
        model: which.
        max_bytes: the most memory for what a call keeps; None for the tree's own bound.
    """

    def __init__(self, model: LanguageModel, *, max_bytes: int | None = None) -> None:
        self._model = model
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: tuple[PrefixTree, _Weights] | None = None

    @contextmanager
    def borrow(self) -> Iterator[PrefixTree]:
        """Have the tree for one call."""
        backbone = self._model.backbone
        weights = tuple((one.data_ptr(), one._version) for one in (*backbone.parameters(), *backbone.buffers()))
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is not None and kept[1] == weights:
            tree = kept[0]
        else:
            tree = PrefixTree(self._model, max_bytes=self._max_bytes)
        try:
            yield tree
        finally:
            tree.trim(KEPT_BYTES)
            with self._lock:
                self._kept = tree, weights
