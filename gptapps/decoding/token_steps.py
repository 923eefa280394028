"""One more token in every row, where there can be one as a CUDA graph: launched at once instead of kernel by kernel.

A small model spends most of a step waiting for the host to launch the next kernel. The graph of a step is captured the
second time it is needed and replayed from then on; the first time runs as usual, which compiles the kernels. A graph
holds for as many rows behind the same shared prefixes, whichever of the rows stand behind which.

Symbols: B rows, V vocabulary.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gptapps.backbone.decoding_keys import SeenKeys
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.packed_texts import can_share_opening
from gptapps.backbone.segment import Segment
from gptapps.backbone.token_step import RotationTables, TokenStep, rotation_tables
from gptapps.errors import ResourceError
from gptapps.kernels.dispatch import uses_triton

if TYPE_CHECKING:  # measuring a backbone's steps takes none of what loads a model
    from gptapps.decoding.language_model import LanguageModel

_LEAST_SLOTS = 1024  # of a cache that grows on a GPU: each growth ends the graphs
_MOST_GRAPHS = 64
_CAPTURING = threading.Lock()  # what begins a capture gives memory back, which PyTorch refuses during another one

_Kind = tuple[int, tuple[Segment, ...]]  # how many rows, and what any of them stands behind


class CapturedStep:
    """A step as a CUDA graph.

    Args:
        step: maps inputs to logits (B, V); every kernel in it has run before.
        inputs: (any, B) int64 on the GPU.
        pool: the memory that the graphs of one run share, since one is replayed at a time.
    """

    def __init__(self, step: Callable[[Tensor], Tensor], inputs: Tensor, pool: Any) -> None:
        self._inputs = inputs
        self._graph = torch.cuda.CUDAGraph()
        with (
            _CAPTURING,
            torch.cuda.device(inputs.device),
            torch.cuda.graph(
                self._graph,
                pool=pool,
                stream=_capture_stream(inputs.device),
                capture_error_mode="thread_local",  # other threads may use the GPU meanwhile
            ),
        ):
            self._logits = step(inputs)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the logits for inputs on the host."""
        self._inputs.copy_(inputs)
        self._graph.replay()
        return self._logits


class TokenSteps:
    """Steps of one token in every row of a cache.

    Args:
        model: which.
        cache: whose rows are read; it may gain, lose and reorder rows and grow between steps.
    """

    def __init__(self, model: LanguageModel, cache: KVCache) -> None:
        self._model, self._cache = model, cache
        # What a table of rotations by position can't hold, texts that begin alike couldn't share either.
        self._has_tables = can_share_opening(model.backbone.config)
        self._tables: RotationTables = {}
        self._positions = 0
        self._held: tuple[object, ...] = ()
        self._warm: set[_Kind] = set()
        self._captured: dict[_Kind, CapturedStep] = {}
        self._pool: Any = None

    @property
    def graphs(self) -> int:
        """How many kinds of steps are held as CUDA graphs."""
        return len(self._captured)

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int]) -> Tensor:
        """Read a token into every row and return the float32 logits (B, V) behind it, good until the next call.

        Raises:
            InputTooLongError: a row would pass the context length.
            ResourceError: the cache's memory bound would be passed.
        """
        if not self._can_stay_on_device():
            return self._model.next_token_logits([[token] for token in tokens], self._cache.all_rows())
        chains = [prefix.chain() if prefix else () for prefix in self._cache.prefixes]
        segments = tuple(dict.fromkeys(segment for chain in chains for segment in chain))
        self._make_room()
        self._notice_growth(max((segment.end for segment in segments), default=0))
        rows = len(tokens)
        together = min(1 << (rows - 1).bit_length(), self._cache.keys.shape[1])  # few sizes, so few graphs
        spare = [0] * (together - rows)  # rows nobody owns yet: what they write is overwritten when somebody does
        seen = ([_length(segment) if segment in chain else 0 for chain in chains] for segment in segments)
        inputs = [tokens, self._cache.lengths(), self._cache.tails, *seen]
        logits = self._run(torch.tensor([[*row, *spare] for row in inputs]), segments)[:rows]
        self._cache.all_rows().advance([1] * rows)
        return logits

    def _can_stay_on_device(self) -> bool:
        cache = self._cache
        return self._has_tables and uses_triton(None, cache.keys) and max(cache.lengths()) < cache.config.context_length

    def _make_room(self) -> None:
        needed = max(self._cache.tails) + 1
        if needed <= self._cache.keys.shape[3]:
            return
        try:
            self._cache.reserve(min(max(2 * needed, _LEAST_SLOTS), self._cache.config.context_length))
        except ResourceError:
            self._cache.all_rows().make_room(1)

    def _notice_growth(self, prefix: int) -> None:
        keys, values = self._cache.keys, self._cache.values
        held = (keys.data_ptr(), values.data_ptr(), keys.shape)
        positions = min(prefix + keys.shape[3], self._cache.config.context_length)
        if held == self._held and positions <= self._positions:
            return
        self._held = held
        self._warm.clear()
        self._captured.clear()
        if positions > self._positions:
            self._positions = positions
            self._tables = rotation_tables(self._cache.config, positions, keys.dtype, keys.device)

    def _run(self, inputs: Tensor, segments: tuple[Segment, ...]) -> Tensor:
        kind, device = (inputs.shape[1], segments), self._cache.keys.device
        if captured := self._captured.get(kind):
            return captured(inputs)

        def step(inputs: Tensor) -> Tensor:
            return self._step(inputs, segments)

        if not self._captures(device) or kind not in self._warm:
            self._warm.add(kind)
            return step(inputs.to(device))
        self._drop_graphs()
        if not self._captured:  # a pool ends with its last graph, and takes none afterwards
            self._pool = torch.cuda.graph_pool_handle()
        captured = self._captured[kind] = CapturedStep(step, inputs.to(device), self._pool)
        return captured(inputs)

    def _captures(self, device: torch.device) -> bool:
        return device.type == "cuda"

    def _drop_graphs(self) -> None:
        """Forget kinds of steps whose segments are gone, and the oldest graph where there are too many."""
        self._warm = {kind for kind in self._warm if all(segment.references for segment in kind[1])}
        self._captured = {kind: graph for kind, graph in self._captured.items() if kind in self._warm}
        if len(self._captured) >= _MOST_GRAPHS:
            del self._captured[next(iter(self._captured))]

    def _step(self, inputs: Tensor, segments: tuple[Segment, ...]) -> Tensor:
        tokens, positions, slots, *lengths = inputs
        seen = [SeenKeys(segment, length) for segment, length in zip(segments, lengths, strict=True)]
        step = TokenStep(self._cache.config, self._cache, positions, self._tables, slots=slots, seen=seen)
        return self._model.logits(self._model.backbone.read_tokens(tokens, step))


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    # One for all: only graphs of the same stream share their pool's memory, and each stream costs cuBLAS a workspace.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _length(segment: Segment) -> int:
    return segment.end - segment.start
