"""What a piece of work needs at least, by the card's own ceilings: the roofline.

Source: Williams, Waterman and Patterson 2009.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the card reaches at its best, measured in the same run.

    Attributes:
        copy: bytes a second of a large copy, those read and those written.
        matmul: operations a second of a large matrix product in the run's number type; a multiply-add is two.
    """

    copy: float
    matmul: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a piece of work can't do without.

    Attributes:
        bytes: each input read once, each output written once.
        operations: of its matrix products; a multiply-add is two.
    """

    bytes: int
    operations: int = 0

    def floor(self, ceilings: Ceilings) -> float:
        """Return the seconds that no implementation falls below."""
        return max(self.bytes / ceilings.copy, self.operations / ceilings.matmul)

    def bound(self, ceilings: Ceilings) -> Literal["memory", "arithmetic"]:
        """Return which ceiling is reached first."""
        return "memory" if self.bytes / ceilings.copy >= self.operations / ceilings.matmul else "arithmetic"

    def share(self, seconds: float, ceilings: Ceilings) -> float:
        """Return which part of the ceiling ``seconds`` reach: 1 at the floor, 0.5 at twice its time."""
        return self.floor(ceilings) / seconds
