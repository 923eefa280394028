"""Drawing the next token of many rows at once, each by its own rules and from its own random numbers.

Symbols: B rows, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptapps.kernels import reference_sampling
from gptapps.kernels.dispatch import Impl, launches, needs_operator, uses_triton


def sample(
    logits: Tensor,
    *,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    min_p: Tensor,
    seeds: Tensor,
    steps: Tensor,
    impl: Impl | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw a token for each row.

    A row keeps the ``top_k`` likeliest tokens (and all that are as likely as the last of them), of these the smallest
    set whose probability reaches ``top_p``, and of these the tokens at least ``min_p`` times as likely as the
    likeliest. Each gets noise of its own, and the best sum wins. The noise of a token follows from seed, step and id,
    so a row draws the same whatever else is in the batch. Nothing looks at a number on the host, so a CUDA graph may
    hold the call.

    Args:
        logits: (B, V); -inf for what must not be drawn, at least one token not.
        temperature: (B,) float32, divides the logits; 0 takes the likeliest token, the lowest id among equals.
        top_k: (B,) int64; 0 for all.
        top_p: (B,) float32, above 0; 1 for all.
        min_p: (B,) float32; 0 for all.
        seeds: (B,) int64.
        steps: (B,) int64: how many tokens the row has drawn before.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Returns:
        Ids (B,) int64, and the log-probability (B,) that the logits as given, untempered, give to each, float32 or
        wider.

    Raises:
        KernelUnavailableError: Triton was asked for and can't be had.

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> whole = torch.zeros(1, dtype=torch.int64)
        >>> rules = {"temperature": zero, "top_k": whole, "top_p": one, "min_p": zero, "seeds": whole, "steps": whole}
        >>> ids, log_probabilities = sample(torch.tensor([[0.0, 5.0, 1.0]]), **rules)
        >>> ids
        tensor([1])

    Source: Gumbel 1954; Maddison, Tarlow and Minka 2014; top-p: Holtzman et al. 2020; min-p: Nguyen et al. 2024.
    """
    rules = (temperature, top_k, top_p, min_p, seeds, steps)
    if not uses_triton(impl, logits):
        return reference_sampling.sample(logits, *rules)
    return (_operator if needs_operator(logits) else _compute)(logits, *rules)


def _compute(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor]:
    rules = (temperature, top_k, top_p, min_p, seeds, steps)
    if not launches(logits):
        return reference_sampling.sample(logits, *rules)
    from gptapps.kernels.gpu.sampling import sample as launch

    return launch(logits, *rules)


_operator = torch.library.custom_op(
    "gptapps::sample",
    _compute,
    mutates_args=(),
    schema="(Tensor logits, Tensor temperature, Tensor top_k, Tensor top_p, Tensor min_p, Tensor seeds, Tensor steps)"
    " -> (Tensor, Tensor)",
)


@_operator.register_fake
def _shapes(logits: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    rows = logits.shape[:1]
    return (
        logits.new_empty(rows, dtype=torch.int64),
        logits.new_empty(rows, dtype=torch.promote_types(logits.dtype, torch.float32)),
    )
