"""Drawing tokens without sorting: noise first, then as few tries as it takes.

What may be drawn (by top-k, top-p and min-p) is the start of the tokens in their order, the likeliest first. If the
best of all noisy tokens lies in it, it is the best there, too, and nothing is left to do; if it doesn't, neither does
any token behind it, and the best of those before it comes next. A try costs a pass over the logits for the token and
one for the probability before it. Only top-k needs a search, for the k-th value.

Symbols: B rows, V vocabulary, P pieces of it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import cdiv, next_power_of_2, on_device

_PIECE = 2048  # tokens of a program that makes noise
_BLOCK = 4096  # tokens at once of a program that chooses

# Where these begin depends on how many rows there are, and compiling anew for each number would be a stall.
_SMALL = ["temperatures", "seeds", "steps", "top_ks", "top_ps", "min_ps", "highest", "sums", "tempered_sums"]


@triton.jit
def _gumbel(seed, step, token):  # type: ignore[no-untyped-def]
    word, _, _, _ = tl.philox(seed, token, token * 0 + step, token * 0, token * 0)
    part = (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10  # of 1: 2 ** -32
    # -log(1 - part), whose small values decide, and whose large ones must not be infinite.
    near = part * (1 + part * (0.5 + part * (0.3333333333 + part * 0.25)))
    far = -tl.log(1 - tl.minimum(part, 0.99999994))
    return -tl.log(tl.where(part < 0.015625, near, far))


@triton.jit(do_not_specialize_on_alignment=_SMALL)
def _add_noise(  # type: ignore[no-untyped-def]
    logits,  # (B, V)
    temperatures,  # (B,)
    seeds,  # (B,)
    steps,  # (B,)
    noisy,  # (B, V)
    highest,  # (B, P)
    sums,  # (B, P)
    tempered_sums,  # (B, P)
    row_stride,
    token_stride,
    vocabulary,
    PIECE: tl.constexpr,
):
    piece, pieces = tl.program_id(0), tl.num_programs(0)
    row = tl.program_id(1).to(tl.int64)
    token = piece * PIECE + tl.arange(0, PIECE)
    inside = token < vocabulary
    temperature = tl.load(temperatures + row)
    divisor = tl.where(temperature > 0, temperature, 1.0)
    place = logits + row * row_stride + token.to(tl.int64) * token_stride
    logit = tl.load(place, mask=inside, other=float("-inf")).to(tl.float32)
    score = logit / divisor
    top = tl.max(logit, 0)
    pivot = tl.where(top == float("-inf"), 0.0, top)
    tl.store(highest + row * pieces + piece, top)
    tl.store(sums + row * pieces + piece, tl.sum(tl.exp(logit - pivot), 0))
    tl.store(tempered_sums + row * pieces + piece, tl.sum(tl.exp(score - pivot / divisor), 0))
    if temperature > 0:
        score += _gumbel(tl.load(seeds + row), tl.load(steps + row).to(tl.int32), token)
    tl.store(noisy + row * vocabulary + token, score, mask=inside)


@triton.jit
def _scores(logits, token, token_stride, vocabulary, divisor):  # type: ignore[no-untyped-def]
    logit = tl.load(logits + token.to(tl.int64) * token_stride, mask=token < vocabulary, other=float("-inf"))
    return logit.to(tl.float32) / divisor


@triton.jit
def _kth_score(logits, token_stride, vocabulary, divisor, k, highest, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the k-th largest score: halve the values between two scores that occur until they are one."""
    least = tl.full((BLOCK,), float("inf"), tl.float32)
    count = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, vocabulary, BLOCK):
        score = _scores(logits, start + tl.arange(0, BLOCK), token_stride, vocabulary, divisor)
        possible = score > float("-inf")
        least = tl.minimum(least, tl.where(possible, score, float("inf")))
        count += possible.to(tl.int32)
    lower, upper = tl.min(least, 0), highest
    if tl.sum(count, 0) <= k:
        upper = lower
    while lower < upper:
        middle = 0.5 * lower + 0.5 * upper
        middle = tl.where(middle > lower, middle, upper)
        least = tl.full((BLOCK,), float("inf"), tl.float32)
        most = tl.full((BLOCK,), float("-inf"), tl.float32)
        count = tl.zeros((BLOCK,), tl.int32)
        for start in range(0, vocabulary, BLOCK):
            score = _scores(logits, start + tl.arange(0, BLOCK), token_stride, vocabulary, divisor)
            above = score >= middle
            least = tl.minimum(least, tl.where(above, score, float("inf")))
            most = tl.maximum(most, tl.where(above, float("-inf"), score))
            count += above.to(tl.int32)
        found = tl.sum(count, 0)
        if found >= k:
            lower = tl.min(least, 0)
        else:
            upper = tl.max(most, 0)
        if found == k:
            upper = lower
    return lower


@triton.jit(do_not_specialize_on_alignment=_SMALL)
def _choose(  # type: ignore[no-untyped-def]
    logits,  # (B, V)
    noisy,  # (B, V)
    temperatures,  # (B,)
    top_ks,
    top_ps,
    min_ps,
    highest,  # (B, P)
    sums,
    tempered_sums,
    ids,  # (B,)
    log_probabilities,  # (B,)
    row_stride,
    token_stride,
    vocabulary,
    pieces,
    PIECES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    noisy += row * vocabulary
    temperature, top_k = tl.load(temperatures + row), tl.load(top_ks + row)
    top_p, min_p = tl.load(top_ps + row), tl.load(min_ps + row)
    draws = temperature > 0
    divisor = tl.where(draws, temperature, 1.0)
    piece = tl.arange(0, PIECES)
    tops = tl.load(highest + row * pieces + piece, mask=piece < pieces, other=float("-inf"))
    top = tl.max(tops, 0)
    piece_sums = tl.load(sums + row * pieces + piece, mask=piece < pieces, other=0.0)
    log_sum = top + tl.log(tl.sum(piece_sums * tl.exp(tops - top), 0))
    piece_sums = tl.load(tempered_sums + row * pieces + piece, mask=piece < pieces, other=0.0)
    mass = tl.sum(piece_sums * tl.exp((tops - top) / divisor), 0)
    peak = top / divisor

    floor = float("-inf")
    if draws and (top_k > 0) and (top_k < vocabulary):
        floor = _kth_score(logits, token_stride, vocabulary, divisor, top_k.to(tl.int32), peak, BLOCK)
        weights = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, vocabulary, BLOCK):
            score = _scores(logits, start + tl.arange(0, BLOCK), token_stride, vocabulary, divisor)
            weights += tl.where(score >= floor, tl.exp(score - peak), 0.0)
        mass = tl.sum(weights, 0)

    last_score, last_token = float("-inf"), vocabulary  # every token comes before these
    chosen = vocabulary - 1
    searching = 1
    while searching == 1:
        best = tl.full((BLOCK,), float("-inf"), tl.float32)
        best_token = tl.full((BLOCK,), 0, tl.int32) + vocabulary
        for start in range(0, vocabulary, BLOCK):
            token = start + tl.arange(0, BLOCK)
            score = _scores(logits, token, token_stride, vocabulary, divisor)
            noise = tl.load(noisy + token, mask=token < vocabulary, other=float("-inf"))
            before = (score > last_score) | ((score == last_score) & (token < last_token))
            possible = before & (score >= floor)
            if draws:
                possible &= tl.exp(score - peak) >= min_p
            better = possible & (noise > best)
            best = tl.where(better, noise, best)
            best_token = tl.where(better, token, best_token)
        winner = tl.max(best, 0)
        chosen = tl.min(tl.where(best == winner, best_token, vocabulary), 0)
        chosen = tl.minimum(chosen, vocabulary - 1)
        searching = 0
        if draws and (top_p < 1):
            last_score = tl.load(logits + chosen.to(tl.int64) * token_stride).to(tl.float32) / divisor
            last_token = chosen
            weights = tl.zeros((BLOCK,), tl.float32)
            for start in range(0, vocabulary, BLOCK):
                token = start + tl.arange(0, BLOCK)
                score = _scores(logits, token, token_stride, vocabulary, divisor)
                before = (score > last_score) | ((score == last_score) & (token < last_token))
                weights += tl.where(before & (score >= floor), tl.exp(score - peak), 0.0)
            likelier = tl.sum(weights, 0)
            if (likelier > 0) and (likelier >= top_p * mass):
                searching = 1
    logit = tl.load(logits + chosen.to(tl.int64) * token_stride).to(tl.float32)
    tl.store(ids + row, chosen.to(tl.int64))
    tl.store(log_probabilities + row, logit - log_sum)


def sample(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor]:
    """Launch :func:`gptapps.kernels.sample`."""
    rows, vocabulary = logits.shape
    ids = torch.empty(rows, dtype=torch.int64, device=logits.device)
    log_probabilities = torch.empty(rows, dtype=torch.float32, device=logits.device)
    if not rows:
        return ids, log_probabilities
    temperature, top_k, top_p, min_p, seeds, steps = (
        rule.contiguous() for rule in (temperature, top_k, top_p, min_p, seeds, steps)
    )
    pieces = cdiv(vocabulary, _PIECE)
    noisy = torch.empty((rows, vocabulary), dtype=torch.float32, device=logits.device)
    highest, sums, tempered_sums = torch.empty((3, rows, pieces), dtype=torch.float32, device=logits.device)
    with on_device(logits):
        _add_noise[(pieces, rows)](
            logits,
            temperature,
            seeds,
            steps,
            noisy,
            highest,
            sums,
            tempered_sums,
            *logits.stride(),
            vocabulary,
            PIECE=_PIECE,
            num_warps=4,
        )
        _choose[(rows,)](
            logits,
            noisy,
            temperature,
            top_k,
            top_p,
            min_p,
            highest,
            sums,
            tempered_sums,
            ids,
            log_probabilities,
            *logits.stride(),
            vocabulary,
            pieces,
            PIECES=next_power_of_2(pieces),
            BLOCK=min(_BLOCK, next_power_of_2(vocabulary)),
            num_warps=16,
        )
    return ids, log_probabilities
