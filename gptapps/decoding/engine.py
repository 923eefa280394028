"""The engine: requests in, continuations out, lazily, in order or as they are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gptapps.decoding.batch_run import BatchRun
from gptapps.decoding.intake import LookAhead
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.ordering import in_order
from gptapps.decoding.request import Completion, Request
from gptapps.decoding.tree_shelf import TreeShelf

_LOOK_AHEAD = 8  # batches of requests that may wait to be put in order


class Engine:
    """Runs requests on one model.

    Args:
        model: which.
        batch_size: the most continuations that run at once.
        max_cache_bytes: the most memory that keys and values may take, shared ones included; requests wait for room.

    Attributes:
        trees: what prompts begin with, kept from call to call.

    Thread-safe: each call has a cache and a tree of its own.

    Example:
        >>> engine = Engine(model)                                                    # doctest: +SKIP
        >>> [c.text for (c,) in engine.complete([Request((1, 2, 3), 20)])]            # doctest: +SKIP
    """

    def __init__(self, model: LanguageModel, *, batch_size: int = 8, max_cache_bytes: int | None = None) -> None:
        self.model = model
        self.batch_size = batch_size
        self.max_cache_bytes = max_cache_bytes
        self.trees = TreeShelf(model, max_bytes=max_cache_bytes)

    def complete(self, requests: Iterable[Request]) -> Iterator[tuple[Completion, ...]]:
        """Yield the continuations of each request, lazily and in order.

        See :meth:`complete_unordered` for the rest.
        """
        return in_order(self.complete_unordered(requests))

    def complete_unordered(self, requests: Iterable[Request]) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Yield each request's number, from 0, and its continuations, lazily and as soon as they are done.

        Up to eight batches of requests are taken from the iterable ahead of the first that isn't done, so that texts
        of similar length can be read together, and what several begin with is read once.

        An error of the iterable is raised once everything taken before it was yielded.

        Raises:
            InputTooLongError: a prompt leaves no room in the context.
            ResourceError: one request alone passes the memory bound.
        """
        ahead = LookAhead(requests, self.batch_size * _LOOK_AHEAD)
        with self._run() as run:
            while True:
                for number, request in ahead.take():
                    run.add(number, request)
                if not run.open:
                    break
                for number, completions in run.step():
                    ahead.finish(number)
                    yield number, completions
        ahead.raise_error()

    def stream(self, request: Request) -> Iterator[str | Completion]:
        """Yield a single continuation's text as it becomes certain, then its :class:`Completion`.

        Pieces are whole characters and never part of a stop string; joined they are the completion's text.
        """
        shown = 0
        with self._run() as run:
            run.add(0, request)
            while True:
                done = run.step()
                text = done[0][1][0].text if done else run.text_so_far()
                if len(text) > shown:
                    yield text[shown:]
                    shown = len(text)
                if done:
                    yield done[0][1][0]
                    return

    @contextmanager
    def _run(self) -> Iterator[BatchRun]:
        with self.trees.borrow() as tree:
            run = BatchRun(tree, batch_size=self.batch_size, max_cache_bytes=self.max_cache_bytes)
            try:
                yield run
            finally:
                run.cache.release()
