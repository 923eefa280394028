"""What a model learns to say of a stretch of text: the next token, or those that are hidden from it.

Symbols: N tokens of a stretch, M of them learned, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gptapps.training.pretraining.token_store import Ids

_HIDDEN = 0.15  # of the tokens
_MASKED, _OTHER = 0.8, 0.1  # of those: the mask in their place, another token; the rest stays as it is

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """What is read of a stretch of text, and what is learned.

    Attributes:
        tokens: ids that are read.
        places: (M,) of the tokens behind which, or in whose place, something is learned.
        targets: (M,) what is learned there.
    """

    tokens: Numbers
    places: Numbers
    targets: Numbers


class Objective(Protocol):
    """What is learned of a stretch of token ids.

    Attributes:
        name: as an option has it.
        causal: whether no token sees what follows it.
        ahead: ids that a stretch has behind those that are read.
    """

    name: str
    causal: bool
    ahead: int

    def count(self, ids: Ids) -> int:
        """Return M."""

    def stretch(self, ids: Ids, draw: Sequence[int]) -> Stretch:
        """Return what is read and learned; numbers of which any are drawn."""


class NextToken:
    """Each token is learned from those in front of it.

    Source: Radford et al. 2018 (GPT-1), equation 1.
    """

    name, causal, ahead = "next-token", True, 1

    def count(self, ids: Ids) -> int:
        """Return M: all but the first."""
        return len(ids) - 1

    def stretch(self, ids: Ids, draw: Sequence[int]) -> Stretch:
        """Return the tokens, and each one's successor."""
        wide = ids.astype(np.int64)
        return Stretch(wide[:-1], np.arange(len(wide) - 1), wide[1:])


class Masked:
    """Some tokens are hidden and learned from those on both sides.

    15 % of the tokens are: in their place stands the mask (80 %), a token drawn from the vocabulary (10 %), or the
    token itself (10 %). Tokens that begin or end a text are never hidden.

    Args:
        vocabulary_size: V, which is the mask's id as well.
        ends: ids that begin or end a text.

    Source: Devlin et al. 2019 (BERT), section 3.1 and appendix A.1.
    """

    name, causal, ahead = "masked", False, 0

    def __init__(self, vocabulary_size: int, ends: Sequence[int]) -> None:
        self._vocabulary_size = vocabulary_size
        self._ends = np.array(list(ends), np.int64)

    def count(self, ids: Ids) -> int:
        """Return M: 15 % of the tokens that can be hidden, one at least."""
        return max(round(_HIDDEN * len(self._candidates(ids))), 1)

    def stretch(self, ids: Ids, draw: Sequence[int]) -> Stretch:
        """Return the tokens with some of them hidden, and these."""
        wide = ids.astype(np.int64)
        numbers = np.random.default_rng(list(draw))
        places = np.sort(numbers.choice(self._candidates(ids), self.count(ids), replace=False))
        targets, fate = wide[places], numbers.random(len(places))
        others = numbers.integers(self._vocabulary_size, size=len(places))
        kept = np.where(fate < _MASKED + _OTHER, others, targets)
        wide[places] = np.where(fate < _MASKED, self._vocabulary_size, kept)
        return Stretch(wide, places, targets)

    def _candidates(self, ids: Ids) -> Numbers:
        inside = np.flatnonzero(~np.isin(ids, self._ends))
        return inside if len(inside) else np.arange(len(ids))
