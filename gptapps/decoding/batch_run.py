"""Continuous batching: many requests through one cache, rows leaving and entering at any step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gptapps.decoding.beam_search import beam_search
from gptapps.decoding.continuation import Continuation, choose_tokens
from gptapps.decoding.prefix_tree import LEAST_SHARED, PrefixTree
from gptapps.decoding.prompt_sharing import Prompt, PromptReader, reading_order
from gptapps.decoding.request import Completion, Request
from gptapps.decoding.token_steps import TokenSteps
from gptapps.errors import InputTooLongError

_PADDED_TOKENS = 4096  # the most that one joint prefill may encode, padding included
_SORTED_BATCHES = 2  # of so many, the longest enter first; in a stream, what is done early waits for the others
_SHORT_TOKENS = 32  # prompts up to this length are read together whatever their lengths


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that waits, and how many tokens of its prompt others begin with as well."""

    index: int
    request: Request
    shared: int = 0

    @property
    def prompt(self) -> Prompt:
        return Prompt(self.request.tokens, self.shared)

    @property
    def rest(self) -> int:
        return len(self.request.tokens) - self.shared


class BatchRun:
    """The state of one call: who waits, who runs, and the cache they share.

    Args:
        tree: what prompts begin with.
        batch_size: the most continuations that run at once.
        max_cache_bytes: the most memory for keys and values, the tree's included; None for no bound.
    """

    def __init__(self, tree: PrefixTree, *, batch_size: int, max_cache_bytes: int | None) -> None:
        self.model = tree.model
        self.tree = tree
        self.reader = PromptReader(tree)
        self.batch_size = batch_size
        self.max_cache_bytes = max_cache_bytes
        self.end_ids = frozenset(self.model.tokenizer.eos_ids)
        self.waiting: list[_Waiting] = []
        self.is_arranged = True
        self.rows: list[Continuation] = []
        self.cache = self.model.new_cache(max_cache_bytes)
        self.steps = TokenSteps(self.model, self.cache)
        self.returned: dict[int, dict[int, Completion]] = {}

    @property
    def open(self) -> int:
        """Requests that are waiting or running."""
        return len(self.waiting) + len(self.rows)

    def text_so_far(self) -> str:
        """Return the certain text of the first running row."""
        return self.rows[0].assembly.text if self.rows else ""

    def add(self, index: int, request: Request) -> None:
        """Let a request wait for its turn."""
        if len(request.tokens) >= self.model.context_length:
            raise InputTooLongError(
                f"The prompt has {len(request.tokens)} tokens, and the model holds "
                f"{self.model.context_length} for prompt and continuation together: shorten the text."
            )
        self.waiting.append(_Waiting(index, request))
        self.is_arranged = False

    @torch.inference_mode()
    def step(self) -> list[tuple[int, tuple[Completion, ...]]]:
        """Let waiting requests enter, or else add a token to every running row; return who finished."""
        if not self.is_arranged:
            self._arrange()
        if self.waiting and self.waiting[0].request.beams > 1 and not self.rows:
            return [self._search(self.waiting.pop(0))]
        free = self.batch_size - len(self.rows)
        if (group := self._next_group(free)) and self._enter(group):
            return self._collect()
        logits = self.steps.logits([row.tokens[-1] for row in self.rows])
        choose_tokens(self.rows, logits, self.end_ids)
        return self._collect()

    def _arrange(self) -> None:
        """Put those that wait into the order to read them in."""
        waiting = sorted(self.waiting, key=lambda entry: entry.index)
        block = self.batch_size * _SORTED_BATCHES
        order = reading_order([entry.request.tokens for entry in waiting], block=block)
        self.waiting = [_Waiting(waiting[place].index, waiting[place].request, shared) for place, shared in order]
        self.is_arranged = True

    def _search(self, entry: _Waiting) -> tuple[int, tuple[Completion, ...]]:
        (prompt,) = self._prompts([entry], self._fits([entry]))
        return entry.index, tuple(beam_search(self.model, entry.request, self.cache, self.reader, prompt.shared))

    def _next_group(self, free: int) -> list[_Waiting]:
        group: list[_Waiting] = []
        for entry in self.waiting:
            if entry.request.beams > 1:
                break
            taken = sum(other.request.returns for other in group)
            sizes = [other.rest for other in [*group, entry]]
            uneven = max(sizes) > _SHORT_TOKENS and min(sizes) < max(sizes) // 2
            fits = taken + entry.request.returns <= free or (not self.rows and not group)
            if not fits or (group and (max(sizes) * len(sizes) > _PADDED_TOKENS or uneven)):
                break
            group.append(entry)
        return group

    def _enter(self, group: list[_Waiting]) -> bool:
        """Read the prompts of as many of ``group`` as memory allows; return whether any entered."""
        while len(group) > 1 and not self._fits(group):
            group = group[:-1]
        fits = self._fits(group)
        if self.rows and not fits:
            return False  # room comes when a running row leaves
        del self.waiting[: len(group)]
        first = self.cache.rows
        prompts = self._prompts(group, fits)
        beside = [*(row.request for row in self.rows), *(entry.request for entry in self.waiting)]
        others = [request.tokens for request in beside[: self.batch_size - len(group)]]
        logits = self.reader.read(self.cache, prompts, others)
        added, sources = self._fork(group, first)
        self.rows += added
        choose_tokens(added, logits[sources], self.end_ids)
        return True

    def _fits(self, group: list[_Waiting]) -> bool:
        """Say whether all rows could grow to their limits together within the memory bound, and make the room.

        What rows stand behind counts once; what nobody stands behind gives way.
        """
        bound = self.max_cache_bytes
        if bound is None:
            return True
        lengths, tails = self.cache.lengths(), self.cache.tails
        sizes = [self._limit(row.request) - lengths[n] + tails[n] for n, row in enumerate(self.rows)]
        # The tree may have cut a shared beginning a little earlier.
        owned = [self._limit(one.request) - max(one.shared - LEAST_SHARED, 0) for one in group]
        sizes += [size for one, size in zip(group, owned, strict=True) for _ in range(one.request.returns)]
        nodes, fresh = self.reader.known([entry.prompt for entry in group])
        rows = len(sizes) * max(sizes) * self.tree.token_bytes
        with self.tree.held(nodes):
            if not self.tree.trim(bound - rows - fresh * self.tree.token_bytes):
                return False
        self.cache.restrict(bound - self.tree.bytes - fresh * self.tree.token_bytes)
        return True

    def _prompts(self, group: list[_Waiting], fits: bool) -> list[Prompt]:
        """Return what to read; a prompt that fits alone at best shares nothing."""
        if fits or self.max_cache_bytes is None:
            return [entry.prompt for entry in group]
        self.tree.release()
        self.cache.restrict(self.max_cache_bytes)
        return [Prompt(entry.request.tokens) for entry in group]

    def _limit(self, request: Request) -> int:
        return min(len(request.tokens) + request.max_new_tokens, self.model.context_length)

    def _fork(self, group: list[_Waiting], first: int) -> tuple[list[Continuation], list[int]]:
        """Make a row for each return; several returns of one prompt stand behind one shared segment."""
        added = [self._continuation(entry, 0) for entry in group]
        sources = list(range(len(group)))
        for place, entry in enumerate(group):
            if (returns := entry.request.returns) > 1:
                prompt = self.cache.freeze(first + place)
                self.cache.adopt(first + place, prompt)
                self.cache.add_rows([prompt] * (returns - 1))
                prompt.release()
                added += [self._continuation(entry, number) for number in range(1, returns)]
                sources += [place] * (returns - 1)
        return added, sources

    def _continuation(self, entry: _Waiting, number: int) -> Continuation:
        room = self.model.context_length - len(entry.request.tokens)
        return Continuation.of(entry.index, number, entry.request, self.model.tokenizer, room)

    def _collect(self) -> list[tuple[int, tuple[Completion, ...]]]:
        done = []
        for place in reversed(range(len(self.rows))):
            row = self.rows[place]
            if row.finish_reason is None:
                continue
            self.cache.remove_row(place)
            self.rows[place] = self.rows[-1]
            self.rows.pop()
            returned = self.returned.setdefault(row.index, {})
            returned[row.number] = row.completion()
            if len(returned) == row.request.returns:
                del self.returned[row.index]
                done.append((row.index, tuple(returned[number] for number in range(row.request.returns))))
        return done
