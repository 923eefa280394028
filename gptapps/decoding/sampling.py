"""Choosing the next token from logits: greedy, or drawn from a tempered and trimmed distribution.

Symbols: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps import kernels
from gptapps.errors import OptionError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen; the filters apply in the order of the attributes.

    Attributes:
        repetition_penalty: above 1 makes tokens of the text so far less likely (Keskar et al. 2019).
        temperature: divides the logits; 0 is greedy: the most likely token, the lowest id among equals.
        top_k: keep the k most likely tokens; None keeps all.
        top_p: keep the smallest set whose probability reaches p (Holtzman et al. 2020); 1 keeps all.
        min_p: keep tokens at least this fraction as likely as the best (Nguyen et al. 2024); 0 keeps all.

    Raises:
        OptionError: a value out of its range.
    """

    repetition_penalty: float = 1.0
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        for name, value, holds, range_ in (
            ("repetition_penalty", self.repetition_penalty, self.repetition_penalty > 0, "above 0"),
            ("temperature", self.temperature, self.temperature >= 0, "0 or above"),
            ("top_k", self.top_k, self.top_k is None or self.top_k >= 1, "1 or above"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", self.min_p, 0 <= self.min_p <= 1, "between 0 and 1"),
        ):
            if not holds:
                raise OptionError(f"{name} is {value}, but has to be {range_}.")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0


def penalize_repetition(logits: Tensor, seen: Collection[int], penalty: float) -> Tensor:
    """Return logits (V,) with those of ``seen`` ids divided by ``penalty``, or multiplied where negative.

    Ids behind the vocabulary, which a learned prompt has, are never said and play no part.
    """
    if penalty == 1 or not seen:
        return logits
    ids = torch.tensor(sorted(token for token in seen if token < len(logits)), device=logits.device)
    scores = logits[ids]
    return logits.index_copy(0, ids, torch.where(scores < 0, scores * penalty, scores / penalty))


def trimmed_probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return the probabilities (V,) that a token is drawn from, after temperature, top-k, top-p and min-p."""
    logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[0]:
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(descending=True, stable=True)
        before = ordered.softmax(0).cumsum(0) - ordered.softmax(0)
        logits = logits.index_fill(0, order[before >= sampling.top_p], -torch.inf)
    probabilities = logits.softmax(0)
    if sampling.min_p > 0:
        kept = probabilities >= sampling.min_p * probabilities.max()
        probabilities = torch.where(kept, probabilities, 0.0)
        probabilities = probabilities / probabilities.sum()
    return probabilities


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw one token for logits (V,), using exactly V numbers of ``generator``.

    Every token gets noise of its own, and the best sum wins. Rounding, which differs with the shape of a batch, then
    changes a draw only where the two best sums are nearly tied; a running sum over the vocabulary would carry the
    rounding of every token before the drawn one. With a generator for each row that makes a seed reproduce its text
    whatever else is in the batch.

    Source: Gumbel 1954; Maddison, Tarlow and Minka 2014.
    """
    probabilities = trimmed_probabilities(logits, sampling).double()
    waits = torch.empty(len(probabilities), dtype=torch.float64).exponential_(generator=generator)
    return int((probabilities.log() - waits.to(probabilities.device).log()).argmax())


def draw_rows(
    logits: Tensor, samplings: Sequence[Sampling], seeds: Sequence[int], steps: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Choose a token for each row by :func:`gptapps.kernels.sample`, the greedy ones among them.

    The random numbers are others than :func:`draw`'s: a seed reproduces its text on the same implementation.

    Args:
        logits: (B, V), repetition already penalized.
        samplings: of each row.
        seeds: of each row.
        steps: how many tokens each row has drawn before.

    Returns:
        Ids (B,) and the log-probability (B,) that the logits give to each.
    """
    decimals = torch.tensor([(one.temperature, one.top_p, one.min_p) for one in samplings]).T
    whole = torch.tensor([[one.top_k or 0 for one in samplings], list(seeds), list(steps)])
    temperature, top_p, min_p = decimals.contiguous().to(logits.device)
    top_k, seed, step = whole.to(logits.device)
    return kernels.sample(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seeds=seed, steps=step
    )
