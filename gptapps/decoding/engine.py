"""Continuous batching: many requests through one cache, long ones first, rows leaving and entering at any step."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gptapps.backbone.kv_cache import bytes_per_token
from gptapps.decoding.beam_search import beam_search
from gptapps.decoding.intake import Intake
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.request import Completion, ConstraintState, FinishReason, Request
from gptapps.decoding.sampling import draw, penalize_repetition
from gptapps.decoding.text_assembly import TextAssembly
from gptapps.errors import InputTooLongError

_LOOK_AHEAD = 8  # batches of requests that may wait to be sorted by length
_PADDED_TOKENS = 4096  # the most that one joint prefill may encode, padding included


@dataclass(slots=True, eq=False)
class _Row:
    """One continuation under way; ``index`` and ``number`` say of which request, and which of its returns."""

    index: int
    number: int
    request: Request
    assembly: TextAssembly
    generator: torch.Generator | None
    constraint: ConstraintState | None
    limit: int
    tokens: list[int] = field(default_factory=list)
    log_likelihood: float = 0.0
    finish_reason: FinishReason | None = None

    def take(self, token: int, log_probability: float, end_ids: frozenset[int]) -> str:
        """Append a token; return the text that became certain."""
        self.tokens.append(token)
        self.log_likelihood += log_probability
        if token in end_ids:
            self.finish_reason = FinishReason.END
            return self.assembly.finish()
        if self.constraint is not None:
            self.constraint.advance(token)
        piece = self.assembly.push(token)
        if self.assembly.stopped:
            self.finish_reason = FinishReason.STOP
        elif len(self.tokens) == self.limit:
            self.finish_reason = FinishReason.LENGTH
            piece += self.assembly.finish()
        return piece

    def completion(self) -> Completion:
        """Return the finished continuation."""
        reason = self.finish_reason or FinishReason.LENGTH
        return Completion(self.assembly.text, tuple(self.tokens), reason, self.log_likelihood)


class Engine:
    """Runs requests on one model.

    Args:
        model: which.
        batch_size: the most continuations that run at once.
        max_cache_bytes: the most memory that keys and values may take; requests wait for room.

    Thread-safe: each call has a cache of its own.

    Example:
        >>> engine = Engine(model)                                                    # doctest: +SKIP
        >>> [c.text for (c,) in engine.complete([Request((1, 2, 3), 20)])]            # doctest: +SKIP
    """

    def __init__(self, model: LanguageModel, *, batch_size: int = 8, max_cache_bytes: int | None = None) -> None:
        self.model = model
        self.batch_size = batch_size
        self.max_cache_bytes = max_cache_bytes

    def complete(self, requests: Iterable[Request]) -> Iterator[tuple[Completion, ...]]:
        """Yield the continuations of each request, lazily and in order.

        Up to eight batches of requests are taken from the iterable ahead of what was yielded, so that texts of
        similar length can be read together.

        An error of the iterable is raised once everything taken before it was yielded.

        Raises:
            InputTooLongError: a prompt leaves no room in the context.
            ResourceError: one request alone passes the memory bound.
        """
        run = _Run(self)
        intake = Intake(requests)
        finished: dict[int, tuple[Completion, ...]] = {}
        taken = following = 0
        while True:
            for request in intake.take(self.batch_size * _LOOK_AHEAD - (taken - following)):
                run.add(taken, request)
                taken += 1
            if not run.open:
                intake.raise_error()
                return
            finished.update(run.step())
            while following in finished:
                yield finished.pop(following)
                following += 1

    def stream(self, request: Request) -> Iterator[str | Completion]:
        """Yield a single continuation's text as it becomes certain, then its :class:`Completion`.

        Pieces are whole characters and never part of a stop string; joined they are the completion's text.
        """
        run = _Run(self)
        run.add(0, request)
        shown = 0
        while True:
            done = run.step()
            text = done[0][1][0].text if done else run.text_so_far()
            if len(text) > shown:
                yield text[shown:]
                shown = len(text)
            if done:
                yield done[0][1][0]
                return


class _Run:
    """The state of one call: who waits, who runs, and the cache they share."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.model = engine.model
        self.end_ids = frozenset(engine.model.tokenizer.eos_ids)
        self.waiting: list[tuple[int, int, Request]] = []  # (-prompt length, index, request), longest first
        self.rows: list[_Row] = []
        self.cache = engine.model.new_cache(engine.max_cache_bytes)
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
        bisect.insort(self.waiting, (-len(request.tokens), index, request), key=lambda entry: entry[:2])

    @torch.inference_mode()
    def step(self) -> list[tuple[int, tuple[Completion, ...]]]:
        """Let waiting requests enter, or else add a token to every running row; return who finished."""
        if self.waiting and self.waiting[0][2].beams > 1 and not self.rows:
            _, index, request = self.waiting.pop(0)
            return [(index, tuple(beam_search(self.model, request, self.engine.max_cache_bytes)))]
        free = self.engine.batch_size - len(self.rows)
        if (group := self._next_group(free)) and self._enter(group):
            return self._collect()
        logits = self.model.next_token_logits([row.tokens[-1:] for row in self.rows], self.cache.all_rows())
        self._choose(self.rows, logits)
        return self._collect()

    def _next_group(self, free: int) -> list[tuple[int, int, Request]]:
        group: list[tuple[int, int, Request]] = []
        for entry in self.waiting:
            length, returns = -entry[0], entry[2].returns
            if entry[2].beams > 1:
                break
            taken = sum(other[2].returns for other in group)
            longest = -group[0][0] if group else length
            fits = taken + returns <= free or (not self.rows and not group)
            if not fits or (group and (longest * (len(group) + 1) > _PADDED_TOKENS or length < longest // 2)):
                break
            group.append(entry)
        return group

    def _enter(self, group: list[tuple[int, int, Request]]) -> bool:
        """Read the prompts of as many of ``group`` as memory allows; return whether any entered."""
        while len(group) > 1 and not self._fits(group):
            group = group[:-1]
        if self.rows and not self._fits(group):
            return False  # room comes when a running row leaves
        del self.waiting[: len(group)]
        first = self.cache.rows
        prompts = [request.tokens for _, _, request in group]
        logits = self.model.next_token_logits(prompts, self.cache.add_rows(len(group)))
        added, sources = self._fork(group, first)
        self.rows += added
        self._choose(added, logits[sources])
        return True

    def _fits(self, group: list[tuple[int, int, Request]]) -> bool:
        """Say whether all rows could grow to their limits together within the memory bound."""
        if self.engine.max_cache_bytes is None:
            return True
        requests = [row.request for row in self.rows]
        requests += [request for _, _, request in group for _ in range(request.returns)]
        longest = max(len(request.tokens) + request.max_new_tokens for request in requests)
        slots = min(longest, self.model.context_length)
        token = bytes_per_token(self.model.backbone.config, self.model.backbone.dtype)
        return len(requests) * slots * token <= self.engine.max_cache_bytes

    def _fork(self, group: list[tuple[int, int, Request]], first: int) -> tuple[list[_Row], list[int]]:
        """Make a row for each return; several returns of one prompt stand behind one shared segment."""
        added = [self._row(index, 0, request) for _, index, request in group]
        sources = list(range(len(group)))
        for place, (_, index, request) in enumerate(group):
            if request.returns > 1:
                prompt = self.cache.freeze(first + place)
                self.cache.adopt(first + place, prompt)
                self.cache.add_rows([prompt] * (request.returns - 1))
                prompt.release()
                added += [self._row(index, number, request) for number in range(1, request.returns)]
                sources += [place] * (request.returns - 1)
        return added, sources

    def _row(self, index: int, number: int, request: Request) -> _Row:
        generator = None
        if not request.sampling.greedy:
            generator = torch.Generator().manual_seed((request.seed * 1_000_003 + number) % 2**63)
        return _Row(
            index,
            number,
            request,
            TextAssembly(self.model.tokenizer, request.stop),
            generator,
            request.constraint.start() if request.constraint else None,
            min(request.max_new_tokens, self.model.context_length - len(request.tokens)),
        )

    def _choose(self, rows: list[_Row], logits: Tensor) -> None:
        normalizers = logits.logsumexp(1)
        best = logits.argmax(1).tolist()
        chosen = [best[place] if _plain(row) else _choose_one(row, logits[place]) for place, row in enumerate(rows)]
        picked = logits[torch.arange(len(rows), device=logits.device), torch.tensor(chosen, device=logits.device)]
        for row, token, log_probability in zip(rows, chosen, (picked - normalizers).tolist(), strict=True):
            row.take(token, log_probability, self.end_ids)

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


def _plain(row: _Row) -> bool:
    sampling = row.request.sampling
    return sampling.greedy and sampling.repetition_penalty == 1 and row.constraint is None


def _choose_one(row: _Row, logits: Tensor) -> int:
    sampling = row.request.sampling
    logits = penalize_repetition(logits, {*row.request.tokens, *row.tokens}, sampling.repetition_penalty)
    if row.constraint is not None:
        ids, end = row.constraint.allowed(), row.constraint.end()
        if end is not None and int(logits.argmax()) not in ids:
            return end
        allowed = torch.tensor(sorted(ids), device=logits.device)
        logits = torch.full_like(logits, -torch.inf).index_copy(0, allowed, logits[allowed])
    if sampling.greedy or row.generator is None:
        return int(logits.argmax())
    return draw(logits, sampling, row.generator)
