"""Timing a case on all sides, in turns, after making sure that they do the same work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.gpu.card import Card, Draw, Work
from benchmarks.speed.gpu.checking import (
    TOLERANCES,
    as_tensors,
    backward_arguments,
    largest_error,
    outcomes,
    reason,
)
from benchmarks.speed.gpu.deadline import Deadline
from benchmarks.speed.gpu.measured import Measured
from benchmarks.speed.gpu.work import Case, Function, Inputs, Pass
from benchmarks.speed.measuring import OURS, Samples, interleaved

_WARMUPS = 3
_ROUNDS = (7, 30)
_SECONDS = 0.4
"""What the rounds of one pass may take together, beyond the fewest."""
_SECONDS_PER_SIDE = 0.5
"""What one side of a pass takes about, its comparison with ours included."""


class WrongKernelError(Exception):
    """A kernel gave other numbers at the size at which it should be timed; the message says how far off."""


def time_case(card: Card, operation: str, case: Case, deadline: Deadline | None = None) -> list[Measured]:
    """Time each pass of a case.

    Args:
        card: where.
        operation: its name.
        case: of it.
        deadline: looked at before each peer and each pass; those that don't fit are left out. None for no limit.

    Raises:
        WrongKernelError: ours differs from what it is compared with by more than rounding explains.
    """
    deadline = Deadline(math.inf) if deadline is None else deadline
    setting = case.setting
    inputs = setting.make(Draw(card, card.dtype, seed=2))
    sides: dict[str, tuple[Function, Inputs]] = {OURS: (setting.ours, inputs)}
    left_out: dict[str, str] = {}
    for name, peer in case.peers.items():
        if not _fits(deadline, operation, case, name):
            continue
        try:
            # Inputs of its own, for some peers write into theirs.
            own = tuple(tensor.clone() if tensor.is_floating_point() else tensor for tensor in inputs)
            sides[name] = (peer(own), own)
        except Exception as failure:  # peers refuse in their own ways, and the table says why
            left_out[name] = reason(failure)
    agreed = _agreement(card, operation, case, sides, left_out, deadline)
    return [
        Measured(
            subject=f"{operation} {kind}" if case.setting.learned else operation,
            size=setting.name,
            cost=cost,
            ours=tuple(samples for samples in timed if samples.side == OURS),
            peers=tuple(samples for samples in timed if samples.side != OURS),
            counts=case.counts and not card.is_dry,
            left_out=dict(left_out),
            checks=agreed,
        )
        for kind, cost in case.costs.items()
        if _fits(deadline, operation, case, kind)
        for timed in [_timed(card, operation, case, kind, sides, left_out, deadline)]
    ]


def rounds_of(card: Card, seconds: float) -> int:
    """Return how many rounds to time when one takes ``seconds``."""
    if card.is_dry:
        return 1
    least, most = _ROUNDS
    return max(least, min(most, int(_SECONDS / max(seconds, 1e-6))))


def _fits(deadline: Deadline, operation: str, case: Case, what: str) -> bool:
    return deadline.allows(f"{operation}, {case.setting.name}: {what}", _SECONDS_PER_SIDE)


def _agreement(
    card: Card,
    operation: str,
    case: Case,
    sides: dict[str, tuple[Function, Inputs]],
    left_out: dict[str, str],
    deadline: Deadline,
) -> dict[str, float]:
    """Compare ours with the plain operation or the first peer; peers that differ lose their place."""
    setting, tolerance = case.setting, TOLERANCES[card.dtype] * case.setting.slack
    ours = outcomes(*sides[OURS], setting.learned)
    found: dict[str, float] = {}
    if case.is_exhaustive:
        wide = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in sides[OURS][1])
        found["plain, float64"] = largest_error(ours, outcomes(setting.plain, wide, setting.learned, card.dtype))
        _refuse(found["plain, float64"], tolerance, "plain PyTorch in float64")
    for name in [name for name in sides if name != OURS]:
        if not _fits(deadline, operation, case, name):
            del sides[name]
            continue
        try:
            own = tuple(tensor.clone() if tensor.is_floating_point() else tensor for tensor in sides[name][1])
            error = largest_error(ours, outcomes(sides[name][0], own, setting.learned))
        except Exception as failure:  # as above
            left_out[name] = reason(failure)
            del sides[name]
            continue
        if not found:
            _refuse(error, 2 * tolerance, name)
        elif error > 2 * tolerance:
            left_out[name] = f"it gives other numbers: a row differs by {error:.2g}"
            del sides[name]
            continue
        found[name] = error
    return found


def _refuse(error: float, tolerance: float, other: str) -> None:
    if not error <= tolerance:
        raise WrongKernelError(f"a row differs from {other} by {error:.2g}, where rounding explains {tolerance:.2g}")


def _timed(
    card: Card,
    operation: str,
    case: Case,
    kind: Pass,
    sides: Mapping[str, tuple[Function, Inputs]],
    left_out: dict[str, str],
    deadline: Deadline,
) -> list[Samples]:
    learned = case.setting.learned
    turns: dict[str, Work] = {}
    longest = 0.0
    for name, (function, inputs) in sides.items():
        if name != OURS and not _fits(deadline, operation, case, f"{kind}, {name}"):
            continue
        try:
            turn = partial(_turn, card, kind, learned, function, inputs)
            first = max(turn() for _ in range(1 if card.is_dry else _WARMUPS))
        except Exception as failure:
            if name == OURS:
                raise
            left_out[name] = reason(failure)
            continue
        turns[name] = turn
        longest += first
    rounds = max(1, int(min(rounds_of(card, longest), deadline.left / max(longest, 1e-6))))
    seconds = interleaved(turns, rounds, 0 if card.is_dry else 1)
    return [
        Samples(name, tuple(values), card.peak_bytes(partial(_whole, kind, learned, *sides[name])))
        for name, values in seconds.items()
    ]


def _turn(card: Card, kind: Pass, learned: tuple[int, ...], function: Function, inputs: Inputs) -> float:
    """Do the pass once and return its seconds; what comes before a backward pass isn't timed."""
    if kind is not Pass.BACKWARD:
        return card.seconds(partial(_whole, kind, learned, function, inputs))
    leaves = _leaves(inputs, learned)
    arguments = backward_arguments(as_tensors(function(*leaves)), leaves)
    return card.seconds(partial(torch.autograd.grad, *arguments))


def _whole(kind: Pass, learned: tuple[int, ...], function: Function, inputs: Inputs) -> None:
    if kind is Pass.FORWARD:
        with torch.no_grad():
            function(*inputs)
        return
    leaves = _leaves(inputs, learned)
    torch.autograd.grad(*backward_arguments(as_tensors(function(*leaves)), leaves))


def _leaves(inputs: Inputs, learned: tuple[int, ...]) -> list[Tensor]:
    return [tensor.detach().requires_grad_(place in learned) for place, tensor in enumerate(inputs)]
