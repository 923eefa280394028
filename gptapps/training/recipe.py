"""How something is learned, how it is judged meanwhile, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gptapps.training.optimizer import Decline


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How something is learned.

    Attributes:
        learning_rate: the highest.
        decline: how the rate falls after the warm-up.
        warmup: share of the updates in which it rises.
        weight_decay: of matrices.
        clip: the most that the gradient's norm may be; None for no bound.
        evaluations: in each epoch, or in all where that is less than one.
        patience: evaluations without a better one after which training ends; None for never.
        checkpoint_every: updates between checkpoints; None leaves it to the time they take.
        seed: of everything drawn.
    """

    learning_rate: float
    decline: Decline = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float | None = 1.0
    evaluations: int = 1
    patience: int | None = None
    checkpoint_every: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How a model is judged while it is trained.

    Attributes:
        measure: returns the values of its metrics.
        decides: which of them says which model is better.
        sign: 1 where larger is better, else -1.
        seen: given the row of each evaluation, its update among it, while the model still is the one that was judged.
    """

    measure: Callable[[], Mapping[str, float]]
    decides: str
    sign: int
    seen: Callable[[Mapping[str, float]], None] | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training came to; the module holds the weights of the best evaluation, or the last ones without any.

    Attributes:
        updates: rows of the learning curve, one an update: ``update``, ``loss``, ``learning_rate``,
            ``gradient_norm``, ``targets``.
        evaluations: rows of the other curve: ``update``, ``epoch``, and the metrics.
        best: the row of the best evaluation, if there was one.
        stopped: whether it ended early.
        seconds: it took.
    """

    updates: tuple[Mapping[str, float], ...]
    evaluations: tuple[Mapping[str, float], ...]
    best: Mapping[str, float] | None
    stopped: bool
    seconds: float

    def curves(self) -> dict[str, Any]:
        """Return all of it for a JSON file."""
        return {
            "updates": [dict(row) for row in self.updates],
            "evaluations": [dict(row) for row in self.evaluations],
            "best": self.best and dict(self.best),
            "stopped_early": self.stopped,
            "seconds": round(self.seconds, 3),
        }
