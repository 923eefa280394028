"""How kernels are held against their references: in Triton's interpreter, or on a GPU where one is asked for.

In the interpreter bfloat16 and float16 prove masks, offsets and shapes only: what is multiplied is widened there, and
what is stored in bfloat16 is cut off rather than rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# A few units in the last place of the dtype, as a share of the largest number there is.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2, torch.float64: 1e-10}


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, learns: bool = False) -> Tensor:
    """Draw normal numbers, on the device that kernels run on."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)
    return numbers.requires_grad_(learns)


def agree(actual: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
    """Check ``actual`` against ``expected``, computed in float64, as closely as its dtype allows."""
    assert actual.shape == expected.shape
    allowed = TOLERANCES[actual.dtype] if tolerance is None else tolerance
    scale = max(expected.abs().max().item(), 1.0) if expected.numel() else 1.0
    torch.testing.assert_close(actual.double(), expected.double(), atol=allowed * scale, rtol=0)


def agree_with_gradients(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    reference: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    tolerance: float | None = None,
) -> None:
    """Check outputs and gradients of ``function`` against those of ``reference`` on the same inputs in float64."""
    wide = [x.detach().double().requires_grad_(x.requires_grad) for x in inputs]
    outputs, expected = (_tuple(f(*x)) for f, x in ((function, inputs), (reference, wide)))
    slopes = [drawn(*out.shape, seed=7 + i, dtype=out.dtype) for i, out in enumerate(outputs)]
    for ours, theirs in zip(outputs, expected, strict=True):
        agree(ours, theirs, tolerance)
    gradients = torch.autograd.grad(outputs, [x for x in inputs if x.requires_grad], slopes)
    wanted = torch.autograd.grad(expected, [x for x in wide if x.requires_grad], [x.double() for x in slopes])
    for x, ours, theirs in zip((x for x in inputs if x.requires_grad), gradients, wanted, strict=True):
        assert ours.dtype is x.dtype
        agree(ours, theirs, tolerance)


def same_bits(function: Callable[[], Sequence[Tensor]]) -> bool:
    """Whether ``function`` returns the same bits twice."""
    return all(torch.equal(first, second) for first, second in zip(function(), function(), strict=True))


def _tuple(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)
