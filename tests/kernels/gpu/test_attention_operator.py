"""The registered operation as PyTorch sees it, and the derivatives of what the kernels are checked against."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gptapps.kernels import Visibility
from gptapps.kernels.reference_attention import masked_attention


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_registered_operation_keeps_its_promises() -> None:
    pytest.importorskip("triton")
    q, k, v = (normal(1, *shape, 16).transpose(1, 2).requires_grad_() for shape in ((5, 2), (7, 1), (7, 1)))
    nothing = (None,) * 6
    torch.library.opcheck(
        torch.ops.gptapps.attention.default, (q, k, v, False, *nothing, normal(2), True, 3, 0, 0, 0.3, 4.0)
    )
    out, log_sum = torch.ops.gptapps.attention(q, k, v, False, *nothing, normal(2), True, 3, 0, 0, 0.3, 4.0)
    learned = [one.detach() for one in (normal(*out.shape), normal(*log_sum.shape), q, k, v, out, log_sum)]
    torch.library.opcheck(
        torch.ops.gptapps.attention_backward.default, (*learned, *nothing, normal(2), True, 3, 0, 0, 0.3, 4.0)
    )


@pytest.mark.parametrize("cap", [None, 2.0])
def test_derivatives_of_the_operation_in_float64(cap: float | None) -> None:
    shapes = ((1, 4, 3, 2), (1, 2, 5, 2), (1, 2, 5, 2), (4,))
    inputs = [normal(*shape, seed=seed).double().requires_grad_() for seed, shape in enumerate(shapes)]
    rest = (True, 3, 0, 0, 0.7, cap)
    hidden = torch.ones(1, 1, 3, 5, dtype=torch.bool)
    hidden[:, :, 1] = False
    for mask in (None, hidden):

        def operation(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, mask: Tensor | None = mask) -> Any:
            return torch.ops.gptapps.attention(q, k, v, False, mask, None, None, None, None, None, sinks, *rest)

        assert torch.autograd.gradcheck(operation, inputs)


@pytest.mark.parametrize("cap", [None, 2.0])
def test_derivatives_of_the_reference(cap: float | None) -> None:
    shapes = ((2, 4, 3, 2), (2, 2, 5, 2), (2, 2, 5, 2), (4,))
    inputs = [normal(*shape, seed=seed).double().requires_grad_() for seed, shape in enumerate(shapes)]
    visible = Visibility(causal=True, window=2, key_lengths=torch.tensor([0, 4]))
    assert torch.autograd.gradcheck(
        lambda q, k, v, sinks: masked_attention(q, k, v, visible, sinks, scale=0.7, soft_cap=cap), inputs
    )
    assert torch.autograd.gradcheck(
        lambda q, k, v: masked_attention(q, k, v, visible, None, scale=0.7, soft_cap=cap)[0], inputs[:3]
    )
