"""One continuation under way, and the choice of its next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gptapps.decoding.request import Completion, ConstraintState, FinishReason, Request
from gptapps.decoding.sampling import draw, draw_rows, penalize_repetition
from gptapps.decoding.text_assembly import TextAssembly
from gptapps.kernels.dispatch import uses_triton
from gptapps.tokenization.tokenizer import Tokenizer


@dataclass(slots=True, eq=False)
class Continuation:
    """One continuation under way.

    Attributes:
        index, number: of which request, and which of its returns.
        request: what was asked.
        assembly: its text.
        generator: where its random numbers come from; None where the likeliest token is taken.
        constraint: what it is held to.
        limit: the most tokens it may get.
        tokens: those it has.
        log_likelihood: sum of what the model gave to them, in nats.
        finish_reason: why it ended; None while it goes on.
    """

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

    @classmethod
    def of(cls, index: int, number: int, request: Request, tokenizer: Tokenizer, room: int) -> Continuation:
        """Return the continuation number ``number`` of a request, for which the context has room for so many tokens."""
        generator = None
        if not request.sampling.greedy:
            generator = torch.Generator().manual_seed(_seed(request, number))
        return cls(
            index,
            number,
            request,
            TextAssembly(tokenizer, request.stop),
            generator,
            request.constraint.start() if request.constraint else None,
            min(request.max_new_tokens, room),
        )

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


def choose_tokens(rows: Sequence[Continuation], logits: Tensor, end_ids: frozenset[int]) -> None:
    """Append a token to each row for its logits, (B, V)."""
    choose = _choose_together if uses_triton(None, logits) else _choose_one_by_one
    for row, token, log_probability in zip(rows, *choose(rows, logits), strict=True):
        row.take(token, log_probability, end_ids)


def _choose_one_by_one(rows: Sequence[Continuation], logits: Tensor) -> tuple[list[int], list[float]]:
    normalizers = logits.logsumexp(1)
    best = logits.argmax(1).tolist()
    chosen = [best[place] if _plain(row) else _choose_one(row, logits[place]) for place, row in enumerate(rows)]
    picked = logits[torch.arange(len(rows), device=logits.device), torch.tensor(chosen, device=logits.device)]
    return chosen, (picked - normalizers).tolist()


def _choose_together(rows: Sequence[Continuation], logits: Tensor) -> tuple[list[int], list[float]]:
    open_logits = logits
    if not all(_open(row) for row in rows):
        open_logits = torch.stack([_open_logits(row, logits[place]) for place, row in enumerate(rows)])
    ids, log_probabilities = draw_rows(
        open_logits,
        [row.request.sampling for row in rows],
        [_seed(row.request, row.number) for row in rows],
        [len(row.tokens) for row in rows],
    )
    if open_logits is not logits:  # what the model itself gave
        log_probabilities = logits.gather(1, ids.unsqueeze(1)).squeeze(1) - logits.logsumexp(1)
    both = torch.stack((ids.double(), log_probabilities.double())).tolist()  # one wait for the GPU
    return [int(token) for token in both[0]], both[1]


def _plain(row: Continuation) -> bool:
    return row.request.sampling.greedy and _open(row)


def _open(row: Continuation) -> bool:
    return row.request.sampling.repetition_penalty == 1 and row.constraint is None


def _choose_one(row: Continuation, logits: Tensor) -> int:
    logits = _open_logits(row, logits)
    if row.request.sampling.greedy or row.generator is None:
        return int(logits.argmax())
    return draw(logits, row.request.sampling, row.generator)


def _open_logits(row: Continuation, logits: Tensor) -> Tensor:
    """Return the logits (V,) after the repetition penalty, -inf where the row may not go."""
    logits = penalize_repetition(logits, {*row.request.tokens, *row.tokens}, row.request.sampling.repetition_penalty)
    if row.constraint is None:
        return logits
    ids, end = row.constraint.allowed(), row.constraint.end()
    if end is not None and int(logits.argmax()) not in ids:
        ids = (end,)
    allowed = torch.tensor(sorted(ids), device=logits.device)
    return torch.full_like(logits, -torch.inf).index_copy(0, allowed, logits[allowed])


def _seed(request: Request, number: int) -> int:
    return (request.seed * 1_000_003 + number) % 2**63
