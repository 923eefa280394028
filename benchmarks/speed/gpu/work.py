"""What is checked and timed, as data: settings of an operation, and sizes at which it is timed beside its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.roofline import Cost

Inputs = tuple[Tensor, ...]
Function = Callable[..., Any]
"""From inputs to a tensor, or several."""
Peer = Callable[[Inputs], Function]
"""Makes a peer's function, with what it may prepare outside of the time; raises where it can't be had."""


class Pass(StrEnum):
    """What of an operation is timed."""

    FORWARD = "forward"
    BACKWARD = "backward"
    BOTH = "forward and backward"


@dataclass(frozen=True, slots=True)
class Setting:
    """An operation with its options, on inputs of some shapes.

    Attributes:
        name: short, with what is particular about it.
        make: draws the inputs.
        ours: the operation on kernels.
        plain: the same in plain PyTorch, which is right in float64.
        learned: which of the inputs get gradients.
        slack: what the tolerance is multiplied by, where rounding adds up in one output.
    """

    name: str
    make: Callable[[Draw], Inputs]
    ours: Function
    plain: Function
    learned: tuple[int, ...] = ()
    slack: float = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """A setting that is timed.

    Attributes:
        setting: at a size that fills the card.
        costs: what is timed, and what it can't do without.
        peers: by name; the first that can be had is what targets mean.
        counts: whether targets look at it.
        is_exhaustive: whether its outputs at this size are compared with the plain ones in float64; where these would
            take too much memory, with the first peer's.
    """

    setting: Setting
    costs: Mapping[Pass, Cost]
    peers: Mapping[str, Peer] = field(default_factory=dict)
    counts: bool = False
    is_exhaustive: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of :mod:`gptapps.kernels`.

    Attributes:
        name: as tables call it.
        functions: those of the package that it covers.
        settings: what is checked; ``True`` asks for sizes that suit the interpreter.
        cases: what is timed, the most telling first; ``True`` asks for tiny sizes.
        seconds: what checking a setting takes about on a GPU, most of it for compiling.
    """

    name: str
    functions: tuple[str, ...]
    settings: Callable[[bool], list[Setting]]
    cases: Callable[[bool], list[Case]]
    seconds: float = 1.5
