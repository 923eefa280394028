"""Drawing tokens in plain PyTorch, by sorting: the oracle of the kernel, number by number of its noise.

Symbols: B rows, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def sample(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute :func:`gptapps.kernels.sample`."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    is_greedy = (temperature == 0).unsqueeze(1)
    scores = wide / torch.where(is_greedy, 1.0, temperature.unsqueeze(1))
    ordered, order = scores.sort(dim=1, descending=True, stable=True)
    kept = _kept(ordered, top_k, top_p, min_p) | is_greedy
    noisy = ordered + torch.where(is_greedy, 0.0, gumbel(seeds, steps, logits.shape[1]).to(wide.dtype).gather(1, order))
    # Among equals the lowest id: the sort is stable, and so is the choice of the first.
    chosen = order.gather(1, noisy.masked_fill(~kept, -torch.inf).argmax(1, keepdim=True))
    return chosen.squeeze(1), wide.gather(1, chosen).squeeze(1) - wide.logsumexp(1)


def gumbel(seeds: Tensor, steps: Tensor, vocabulary: int) -> Tensor:
    """Return the noise (B, V) in float64 that a seed gives to each token at a step.

    Source: Salmon et al. 2011 (Philox-4x32-10); Gumbel 1954.
    """
    tokens = torch.arange(vocabulary, device=seeds.device).expand(len(seeds), -1)
    first, second, third, fourth = tokens, steps.unsqueeze(1).expand_as(tokens) & _WORD, tokens * 0, tokens * 0
    low, high = (seeds & _WORD).unsqueeze(1), (seeds >> 32 & _WORD).unsqueeze(1)
    for _ in range(10):
        one, other = first * 0xD2511F53, third * 0xCD9E8D57  # wraps past 64 bits, which leaves the words right
        first, second, third, fourth = (
            (other >> 32 & _WORD) ^ second ^ low,
            other & _WORD,
            (one >> 32 & _WORD) ^ fourth ^ high,
            one & _WORD,
        )
        low, high = low + 0x9E3779B9 & _WORD, high + 0xBB67AE85 & _WORD
    waits = -torch.log1p(-(first.double() + 0.5) / 2**32)
    return -waits.log()


def _kept(ordered: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """Return which of the tokens (B, V), the likeliest first, may be drawn."""
    vocabulary = ordered.shape[1]
    last = torch.where(top_k > 0, top_k, vocabulary).clamp_max(vocabulary) - 1
    kept = ordered >= ordered.gather(1, last.unsqueeze(1))
    weights = (ordered - ordered[:, :1]).exp()
    among = weights * kept
    before = among.cumsum(1) - among
    limits = top_p.unsqueeze(1) * among.sum(1, keepdim=True)
    kept &= (before < limits) | (top_p >= 1).unsqueeze(1)
    return kept & (weights >= min_p.unsqueeze(1))
