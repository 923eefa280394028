"""The activations' kernels against float64, forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import DTYPES, agree, agree_with_gradients, drawn, same_bits
from torch import Tensor

from gptapps import kernels
from gptapps.kernels.dispatch import Impl

pytest.importorskip("triton")
# The interpreter's exp is numpy's, which warns where a GPU's is inf.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

NAMES = ["gelu", "gelu_tanh", "silu", "relu"]


def run(x: Tensor, name: str, gated: bool, impl: Impl) -> Tensor:
    return (kernels.gated_activation if gated else kernels.plain_activation)(x, name, impl=impl)


@given(
    rows=st.lists(st.integers(0, 3), max_size=2),
    columns=st.sampled_from([1, 5, 64, 300, 1100]),
    name=st.sampled_from(NAMES),
    dtype=st.sampled_from(DTYPES),
    gated=st.booleans(),
)
def test_outputs_and_gradients(rows: list[int], columns: int, name: str, dtype: torch.dtype, gated: bool) -> None:
    shape = (*rows, columns * (2 if gated else 1))
    agree_with_gradients(
        lambda x: run(x * 3, name, gated, "triton"),
        lambda x: run(x * 3, name, gated, "reference"),
        [drawn(*shape, dtype=dtype, learns=True)],
        {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}[dtype],  # three times as far from zero
    )


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_far_from_zero(name: str, gated: bool) -> None:
    numbers = [-1e4, -90.0, -20.0, -0.0, 0.0, 20.0, 90.0, 1e4]
    x = drawn(2 * len(numbers))
    x[: len(numbers)] = torch.tensor(numbers)
    agree_with_gradients(
        lambda x: run(x, name, gated, "triton"), lambda x: run(x, name, gated, "reference"), [x.requires_grad_()]
    )


@pytest.mark.parametrize("gated", [False, True])
def test_what_is_no_number_stays_none(gated: bool) -> None:
    x = torch.full_like(drawn(2), torch.nan)
    for name in NAMES:
        assert run(x, name, gated, "triton").isnan().all()


@pytest.mark.parametrize("gated", [False, True])
def test_numbers_that_lie_apart(gated: bool) -> None:
    agree_with_gradients(
        lambda x: run(x.transpose(0, 1), "silu", gated, "triton"),
        lambda x: run(x.transpose(0, 1), "silu", gated, "reference"),
        [drawn(6, 3, learns=True)],
    )


@pytest.mark.parametrize("gated", [False, True])
def test_same_bits_twice(gated: bool) -> None:
    x = drawn(3, 600, learns=True)

    def gradients() -> tuple[Tensor, ...]:
        out = run(x, "gelu", gated, "triton")
        return (out, *torch.autograd.grad(out.square().sum(), x))

    assert same_bits(gradients)


def test_an_activation_there_is_not() -> None:
    with pytest.raises(ValueError, match="no activation 'swishy'"):
        kernels.plain_activation(drawn(3), "swishy", impl="triton")


@pytest.mark.parametrize("gated", [False, True])
def test_the_operations_are_registered_as_pytorch_asks(gated: bool) -> None:
    x = drawn(3, 8, learns=True)
    torch.library.opcheck(torch.ops.gptapps.activation.default, (x, "silu", gated))
    grad = drawn(3, 4 if gated else 8, seed=1)
    torch.library.opcheck(torch.ops.gptapps.activation_backward.default, (grad, x.detach(), "silu", gated))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_of_the_operation_in_float64(name: str, gated: bool) -> None:
    x = drawn(3, 8, dtype=torch.float64, learns=True)

    def operation(x: Tensor) -> Tensor:
        out: Tensor = torch.ops.gptapps.activation(x, name, gated)
        return out

    agree(operation(x), run(x, name, gated, "reference"))
    assert torch.autograd.gradcheck(operation, x)
