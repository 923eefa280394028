"""Timing a model on both sides: reading prompts, continuing texts, learning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.gpu.card import Card, Draw
from benchmarks.speed.gpu.checking import reason
from benchmarks.speed.gpu.deadline import Deadline
from benchmarks.speed.gpu.decoders import DECODERS, Decoder, TheirDecoder
from benchmarks.speed.gpu.layouts import Layout
from benchmarks.speed.gpu.measured import Measured
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.sides import Ours, Theirs, build_ours, build_theirs
from benchmarks.speed.measuring import OURS, BenchmarkError, Samples, interleaved

THEIRS, COMPILED = "transformers, sdpa", "transformers, torch.compile"
_GENERATE = "transformers, generate"
_GENERATE_COMPILED = "transformers, generate, torch.compile and CUDA graphs"
NEW_TOKENS = 16
_DRY_NEW_TOKENS = 3
_CHECKED_TOKENS = 96
_WORSE = 2.0
"""How much further from float32 than transformers' logits ours may lie: both round, but not in the same places."""
_ROUNDING = 1e-5
_SAME_LOSS = 0.01
_SECONDS_PER_LAYER = {"prefill": 1.0, "training": 2.5, "decoding": 1.5}
"""What compiling takes about."""
_PREPARED = 0.3
"""As a part of that, once the compiler's cache on the disk is filled."""
_BUILDING_SECONDS = 10.0
"""What building both sides and comparing their logits takes about."""
_SECONDS_PER_PIECE = {"decoding": 5.0, "prefill": 5.0, "training step": 6.0}
"""What one piece of work takes about, what is compiled left out."""
_ROUNDS = (5, 10)
_SECONDS = 4.0
"""What the rounds of one piece of work may take together, beyond the fewest."""

_NEEDED = (*DECODERS, OURS, THEIRS)
"""Without these sides a piece of work tells nothing."""

Turn = Callable[[], float]


class Timer:
    """Times one layout.

    Args:
        card: where.
        layout: which.
        deadline: when to leave out the rest.
        is_prepared: whether the compiler's cache holds the layout already.

    Raises:
        BenchmarkError: while timing, if the sides' logits or losses don't agree.
    """

    def __init__(self, card: Card, layout: Layout, deadline: Deadline, *, is_prepared: bool = False) -> None:
        self.card, self.layout, self.deadline, self.is_prepared = card, layout, deadline, is_prepared
        self._element = card.dtype.itemsize

    def measured(self) -> Iterator[Measured]:
        """Yield each piece of work as soon as it is timed, the most telling first; what doesn't fit is left out."""
        decoded = [("decoding", self._decoding, size) for size in self.layout.decoded]
        prefills = [("prefill", self._prefill, size) for size in self.layout.prefills]
        pieces = [*decoded[:1], *prefills[:1], *decoded[1:], *prefills[1:]]
        trained = self.layout.trained
        building = 1.0 if self.card.is_dry else _BUILDING_SECONDS
        if self.deadline.left < building:
            for subject, _, size in pieces:
                self._fits_piece(subject, size, building)
            if trained is not None:
                self._fits_piece("training step", trained, building)
            return
        theirs = build_theirs(self.card, self.layout, self.layout.layers)
        ours = build_ours(theirs)
        checks = check_logits(self.card, ours, theirs)
        for subject, measure, size in pieces:
            if self._fits_piece(subject, size):
                found = measure(ours, theirs, *size, checks)
                if found is not None:
                    yield found
                self.card.release()
        layers = self.layout.trained_layers or self.layout.layers
        is_rebuilt = layers != self.layout.layers
        if trained is None or not self._fits_piece("training step", trained, building if is_rebuilt else 0.0):
            return
        if is_rebuilt:
            del ours, theirs
            self.card.release()
            theirs = build_theirs(self.card, self.layout, layers)
            ours = build_ours(theirs)
        found = self._training(ours, theirs, *trained)
        if found is not None:
            yield found

    def _fits_piece(self, subject: str, size: tuple[int, int], building: float = 0.0) -> bool:
        return self._fits(f"{subject}, {self._told(*size)}", building + _SECONDS_PER_PIECE[subject])

    def _fits(self, what: str, seconds: float) -> bool:
        return self.deadline.allows(f"{self.layout.name}: {what}", seconds)

    def _told(self, batch: int, tokens: int) -> str:
        return f"{self.layout.name}, B {batch}, T {tokens}"

    @torch.inference_mode()
    def _decoding(self, ours: Ours, theirs: Theirs, batch: int, tokens: int, checks: dict[str, Any]) -> Measured | None:
        prompts = Draw(self.card, self.card.dtype).integers(self.layout.vocabulary, batch, tokens)
        steps = _DRY_NEW_TOKENS if self.card.is_dry else NEW_TOKENS
        turns: dict[str, Turn] = {
            name: partial(seconds_per_step, self.card, make(ours), prompts, steps) for name, make in DECODERS.items()
        }
        turns[THEIRS] = partial(seconds_per_step, self.card, TheirDecoder(theirs), prompts, steps)
        turns[_GENERATE] = partial(theirs.generate, prompts, steps, is_static=False)
        if self._may_compile("decoding", batch, tokens):
            turns[_GENERATE_COMPILED] = partial(theirs.generate, prompts, steps, is_static=True)
        cost = self.layout.decode_cost(batch, tokens, self._element)
        return self.timed("decoding", batch, tokens, cost, turns, checks)

    @torch.inference_mode()
    def _prefill(self, ours: Ours, theirs: Theirs, batch: int, tokens: int, checks: dict[str, Any]) -> Measured | None:
        prompts = Draw(self.card, self.card.dtype).integers(self.layout.vocabulary, batch, tokens)
        turns: dict[str, Turn] = {
            OURS: lambda: self.card.elapsed(lambda: ours.prefill(prompts)),
            THEIRS: lambda: self.card.elapsed(lambda: theirs.prefill(prompts)),
        }
        if self._may_compile("prefill", batch, tokens):
            quick = compiled(self.card, theirs)
            turns[COMPILED] = lambda: self.card.elapsed(lambda: quick.prefill(prompts))
        cost = self.layout.prefill_cost(batch, tokens, self._element)
        return self.timed("prefill", batch, tokens, cost, turns, checks)

    def _training(self, ours: Ours, theirs: Theirs, batch: int, tokens: int) -> Measured | None:
        texts = Draw(self.card, self.card.dtype).integers(self.layout.vocabulary, batch, tokens)
        first = {name: float(side.loss(texts).detach()) for name, side in ((OURS, ours), (THEIRS, theirs))}
        if not abs(first[OURS] - first[THEIRS]) <= _SAME_LOSS * abs(first[THEIRS]):
            told = ", ".join(f"{side} {loss:.4f}" for side, loss in first.items())
            raise BenchmarkError(f"{self.layout.name}: the sides don't learn the same, their first losses are {told}.")
        sides: dict[str, Ours | Theirs] = {OURS: ours, THEIRS: theirs}
        if self._may_compile("training", batch, tokens):
            sides[COMPILED] = compiled(self.card, theirs)
        optimizers: dict[int, torch.optim.Optimizer] = {}
        for side in (ours, theirs):
            learned = side.parameters
            optimizers[id(learned[0])] = torch.optim.AdamW(learned, lr=1e-5, fused=not self.card.is_dry)
        turns: dict[str, Turn] = {
            name: partial(self.card.elapsed, partial(training_step, side, optimizers[id(side.parameters[0])], texts))
            for name, side in sides.items()
        }
        cost = self.layout.training_cost(batch, tokens, self._element)
        layers = self.layout.trained_layers
        found = self.timed("training step", batch, tokens, cost, turns, {"first_losses": first})
        return found if found is None or layers is None else replace(found, size=f"{found.size}, {layers} layers")

    def _may_compile(self, what: str, batch: int, tokens: int) -> bool:
        layers = self.layout.trained_layers if what == "training" else None
        seconds = 1.0 if self.card.is_dry else _SECONDS_PER_LAYER[what] * (layers or self.layout.layers)
        seconds *= _PREPARED if self.is_prepared else 1.0
        return self._fits(f"torch.compile, {what}, {self._told(batch, tokens)}", seconds)

    def timed(
        self, subject: str, batch: int, tokens: int, cost: Cost, turns: dict[str, Turn], checks: dict[str, Any]
    ) -> Measured | None:
        """Time a piece of work, and look at the deadline before each side's first turn and before each round.

        Args:
            subject: what is done.
            batch, tokens: B and T.
            cost: of one run.
            turns: what each side does, which returns seconds; those that take no part are removed.
            checks: how it was made sure that all sides do the same.

        Returns:
            The times; None if gptapps or transformers did not get to a round.
        """
        size = self._told(batch, tokens)
        left_out: dict[str, str] = {}
        longest, whole = 0.0, 0.0  # seconds of a turn and of a round
        calls = 1 if self.card.is_dry else 2  # a side's first turns; and a round, and one more that looks at memory
        for name in list(turns):
            is_needed = name in _NEEDED
            needed = calls * longest + calls * (whole + longest)
            if not self._fits(f"{subject}, {size}" + ("" if is_needed else f", {name}"), needed):
                if is_needed:
                    return None
                del turns[name]
                continue
            try:
                if not self.card.is_dry:
                    turns[name]()  # compiles what there is to compile
                before = self.deadline.left
                turns[name]()
            except Exception as failure:
                if is_needed:
                    raise
                left_out[name] = reason(failure)
                del turns[name]
                continue
            taken = before - self.deadline.left
            longest, whole = max(longest, taken), whole + taken
        if not self._fits(f"{subject}, {size}", calls * whole):
            return None
        rounds = 1 if self.card.is_dry else max(_ROUNDS[0], min(_ROUNDS[1], int(_SECONDS / max(whole, 1e-6))))
        seconds = interleaved(turns, 1, 0)
        for number in range(1, rounds):
            if not self._fits(f"{subject}, {size}, all but {number} of {rounds} rounds", calls * whole):
                break
            for name, values in interleaved(turns, 1, 0).items():
                seconds[name] += values
        samples = [Samples(name, tuple(values), self.card.peak_bytes(turns[name])) for name, values in seconds.items()]
        return Measured(
            subject=subject,
            size=size,
            cost=cost,
            ours=tuple(one for one in samples if one.side.startswith(OURS)),
            peers=tuple(one for one in samples if not one.side.startswith(OURS)),
            counts=not self.card.is_dry,
            left_out=left_out,
            checks=checks,
        )


@torch.inference_mode()
def check_logits(card: Card, ours: Ours, theirs: Theirs) -> dict[str, Any]:
    """Compare both sides' logits with those of transformers in float32, and gptapps' decoders with its whole reading.

    Raises:
        BenchmarkError: ours lie further off than rounding explains.
    """
    config = ours.backbone.config
    tokens = Draw(card, card.dtype).integers(config.vocabulary_size, 2, 8 if card.is_dry else _CHECKED_TOKENS)
    exact = Theirs(copy.deepcopy(theirs.model).float())
    truth = exact.logits(tokens)
    del exact
    card.release()
    errors = {THEIRS: _distance(theirs.logits(tokens), truth), OURS: _distance(ours.logits(tokens), truth)}
    head = tokens.shape[1] - 3
    for name, make in DECODERS.items():
        decoder = make(ours)
        steps = [decoder.read(tokens[:, :head]).clone()]
        steps += [decoder.step(tokens[:, place]).clone() for place in range(head, head + 3)]
        errors[f"{name}, token by token"] = _distance(torch.stack(steps, 1), truth[:, head - 1 :])
    allowed = max(_WORSE * errors[THEIRS], _ROUNDING)
    for name, error in errors.items():
        if not error <= allowed:
            raise BenchmarkError(
                f"The logits of {name} lie {error:.2g} off transformers' in float32, where {allowed:.2g} is rounding."
            )
    return {"logits_off_float32": errors}


def compiled(card: Card, theirs: Theirs) -> Theirs:
    """Return transformers' model through ``torch.compile``; a dry run traces it and compiles nothing."""
    options: dict[str, Any] = {"backend": "eager"} if card.is_dry else {}
    return Theirs(torch.compile(theirs.model, dynamic=False, **options))


def seconds_per_step(card: Card, decoder: Decoder, prompts: Tensor, steps: int) -> float:
    """Read prompts, continue them greedily by ``steps`` tokens, and return the seconds of one of these."""
    tokens = decoder.read(prompts).argmax(-1)

    def work() -> None:
        nonlocal tokens
        for _ in range(steps):
            tokens = decoder.step(tokens).argmax(-1)

    return card.elapsed(work) / steps


def training_step(side: Ours | Theirs, optimizer: torch.optim.Optimizer, texts: Tensor) -> None:
    """Learn from texts (B, T) once."""
    torch.autograd.backward(side.loss(texts))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _distance(logits: Tensor, truth: Tensor) -> float:
    return float((logits.float() - truth).norm() / truth.norm())
