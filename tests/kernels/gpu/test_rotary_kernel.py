"""The rotation's kernel against float64, forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import DTYPES, agree, agree_with_gradients, drawn, same_bits
from torch import Tensor

from gptapps import kernels

pytest.importorskip("triton")


def tables(batch: int, tokens: int, rotated: int, interleaved: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    angles = drawn(batch, tokens, 1, rotated // 2, seed=1, dtype=torch.float32)
    cos, sin = angles.cos(), angles.sin()
    if interleaved:
        return cos.repeat_interleave(2, -1).to(dtype), torch.stack((-sin, sin), -1).flatten(-2).to(dtype)
    return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


@given(
    batch=st.integers(1, 2),
    tokens=st.integers(0, 3),
    heads=st.integers(1, 5),
    size=st.sampled_from([(8, 8), (64, 64), (80, 80), (96, 32), (16, 4), (6, 2)]),
    dtype=st.sampled_from(DTYPES),
    interleaved=st.booleans(),
)
def test_outputs_and_gradients(
    batch: int, tokens: int, heads: int, size: tuple[int, int], dtype: torch.dtype, interleaved: bool
) -> None:
    channels, rotated = size
    cos, sin = tables(batch, tokens, rotated, interleaved, dtype)
    agree_with_gradients(
        lambda x: kernels.rotary(x[:, :, 1:], cos, sin, interleaved=interleaved, impl="triton"),
        lambda x: kernels.rotary(x[:, :, 1:], cos.double(), sin.double(), interleaved=interleaved),
        [drawn(batch, tokens, heads + 1, channels, dtype=dtype, learns=True)],
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_heads_in_several_programs(interleaved: bool) -> None:
    x, (cos, sin) = drawn(1, 2, 40, 256), tables(1, 2, 256, interleaved, torch.float32)
    out = kernels.rotary(x, cos, sin, interleaved=interleaved, impl="triton")
    agree(out, kernels.rotary(x.double(), cos.double(), sin.double(), interleaved=interleaved))


def test_rows_share_the_tables() -> None:
    x, (cos, sin) = drawn(3, 4, 2, 8).transpose(0, 1), tables(1, 3, 8, False, torch.float32)
    out = kernels.rotary(x, cos, sin, interleaved=False, impl="triton")
    agree(out, kernels.rotary(x.double(), cos.double(), sin.double(), interleaved=False))


def test_channels_that_pass_keep_their_bits() -> None:
    x, (cos, sin) = drawn(1, 2, 3, 16, dtype=torch.bfloat16), tables(1, 2, 4, False, torch.bfloat16)
    out = kernels.rotary(x, cos, sin, interleaved=False, impl="triton")
    assert torch.equal(out[..., 4:], x[..., 4:])


@pytest.mark.parametrize("view", ["channels apart", "rows of another table", "one row for all"])
def test_tables_are_read_where_they_lie(view: str) -> None:
    views = {
        "channels apart": lambda x: torch.stack((x, x + 1), -1)[..., 0],
        "rows of another table": lambda x: torch.cat((x, x + 1), 1)[:, :3],
        "one row for all": lambda x: x[:1, :1].expand(2, 3, 1, 8),
    }
    cos, sin = (views[view](x) for x in tables(2, 3, 8, True, torch.float32))
    assert not cos.is_contiguous()
    agree_with_gradients(
        lambda x: kernels.rotary(x, cos, sin, interleaved=True, impl="triton"),
        lambda x: kernels.rotary(x, cos.double(), sin.double(), interleaved=True),
        [drawn(2, 3, 2, 8, learns=True)],
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_same_bits_twice(interleaved: bool) -> None:
    x, (cos, sin) = drawn(2, 3, 2, 16, learns=True), tables(2, 3, 8, interleaved, torch.float32)

    def gradients() -> tuple[Tensor, ...]:
        out = kernels.rotary(x, cos, sin, interleaved=interleaved, impl="triton")
        return (out, *torch.autograd.grad(out.square().sum(), x))

    assert same_bits(gradients)


@pytest.mark.parametrize("interleaved", [False, True])
def test_the_operation_is_registered_as_pytorch_asks(interleaved: bool) -> None:
    x, (cos, sin) = drawn(1, 2, 2, 6, learns=True), tables(1, 2, 4, interleaved, torch.float32)
    torch.library.opcheck(torch.ops.gptapps.rotary.default, (x, cos, sin, interleaved, False))


@pytest.mark.parametrize("interleaved", [False, True])
def test_the_reference_of_the_operation_in_float64(interleaved: bool) -> None:
    x = drawn(2, 3, 2, 8, dtype=torch.float64, learns=True)
    cos, sin = (drawn(2, 3, 1, 6, seed=seed, dtype=torch.float64) for seed in (1, 2))  # no pair's sines belong together

    def operation(x: Tensor) -> Tensor:
        out: Tensor = torch.ops.gptapps.rotary(x, cos, sin, interleaved, False)
        return out

    agree(operation(x), kernels.rotary(x, cos, sin, interleaved=interleaved))
    assert torch.autograd.gradcheck(operation, x)
