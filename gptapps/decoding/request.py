"""What a caller asks of decoding, and what comes back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gptapps.decoding.sampling import Sampling
from gptapps.errors import OptionError

_GREEDY = Sampling()


class FinishReason(StrEnum):
    """Why a continuation ended."""

    END = "end"  # the model ended it
    STOP = "stop"  # a stop string appeared
    LENGTH = "length"  # max_new_tokens, or the context, was used up


class ConstraintState(Protocol):
    """Where a constrained continuation stands; one for each row."""

    def allowed(self) -> Collection[int]:
        """Return the ids that may come next; never empty."""

    def end(self) -> int | None:
        """Return the token to end with where the model would rather say something else; None where it may not end."""

    def advance(self, token: int) -> None:
        """Take ``token`` as the one that came."""


class Constraint(Protocol):
    """Limits what may be generated, token by token."""

    def start(self) -> ConstraintState:
        """Return the state before the first token."""


@dataclass(frozen=True, slots=True)
class Request:
    """A text to continue.

    Attributes:
        tokens: the prompt's ids, at least one.
        max_new_tokens: the most tokens to add; the context's end may come first.
        sampling: how tokens are chosen.
        stop: strings that end the continuation and are not part of it, wherever token borders fall.
        seed: of the random numbers; return i of several uses its own stream derived from it.
        returns: how many continuations.
        beams: 1 for none; above, beam search with that many, which takes no temperature and no constraint.
        length_penalty: a beam's score is its log-likelihood divided by its length to this power.
        constraint: limits what may be generated.

    Raises:
        OptionError: a combination that makes no sense.
    """

    tokens: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = _GREEDY
    stop: tuple[str, ...] = ()
    seed: int = 0
    returns: int = 1
    beams: int = 1
    length_penalty: float = 1.0
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        for wrong, problem in (
            (not self.tokens, "an empty prompt: at least one token is needed"),
            (self.max_new_tokens < 1, f"max_new_tokens={self.max_new_tokens}: use 1 or more"),
            (self.returns < 1, f"returns={self.returns}: use 1 or more"),
            (self.beams < 1, f"beams={self.beams}: use 1 or more"),
            ("" in self.stop, "an empty stop string: leave it out"),
            (self.beams > 1 and not self.sampling.greedy, "beams with a temperature: choose one of the two"),
            (
                self.beams > 1 and self.constraint is not None,
                "beams with a constraint: choose one of the two",
            ),
            (self.beams > 1 and self.returns > self.beams, f"{self.returns} returns of {self.beams} beams"),
            (
                self.beams == 1 and self.returns > 1 and self.sampling.greedy,
                f"{self.returns} returns of greedy decoding, which are all the same: set a temperature or beams",
            ),
        ):
            if wrong:
                raise OptionError(f"Generation was asked for with {problem}.")


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation.

    Attributes:
        text: without special tokens, cut before a stop string.
        tokens: every generated id, the end token included.
        finish_reason: why it ended.
        log_likelihood: sum of the log-probabilities the model itself gave to the tokens, in nats.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    log_likelihood: float
