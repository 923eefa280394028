"""The kernel that merges attention over two sets of keys, against float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import agree, agree_with_gradients, drawn, same_bits
from torch import Tensor

from gptapps import kernels

pytest.importorskip("triton")


def merged(*parts: Tensor) -> tuple[Tensor, Tensor]:
    return kernels.merge_attention((parts[0], parts[1]), (parts[2], parts[3]), impl="triton")


def plain(*parts: Tensor) -> tuple[Tensor, Tensor]:
    return kernels.merge_attention((parts[0], parts[1]), (parts[2], parts[3]), impl="reference")


def parts(batch: int, heads: int, tokens: int, size: int, *, learns: bool = False) -> list[Tensor]:
    shapes = [(batch, heads, tokens, size), (batch, heads, tokens, 1)] * 2
    return [drawn(*shape, seed=seed, learns=learns) for seed, shape in enumerate(shapes)]


@given(st.integers(0, 3), st.integers(1, 3), st.integers(0, 40), st.sampled_from([1, 16, 80, 96, 256]))
def test_outputs_and_gradients(batch: int, heads: int, tokens: int, size: int) -> None:
    agree_with_gradients(merged, plain, parts(batch, heads, tokens, size, learns=True))


def test_a_side_that_saw_nothing_changes_nothing() -> None:
    first, log_first, second, log_second = parts(2, 2, 5, 16)
    log_second[1, 0, 3], log_first[0, 1, 2] = -math.inf, -math.inf
    second[1, 0, 3], first[0, 1, 2] = 0.0, 0.0
    out, log_sum = merged(first, log_first, second, log_second)
    assert torch.equal(out[1, 0, 3], first[1, 0, 3])
    assert torch.equal(out[0, 1, 2], second[0, 1, 2])
    assert torch.equal(log_sum[1, 0, 3], log_first[1, 0, 3])
    wide = [x.double() for x in (first, log_first, second, log_second)]
    agree(out, plain(*wide)[0])
    agree(log_sum, plain(*wide)[1])


@pytest.mark.parametrize("merging", [merged, plain])
def test_where_neither_saw_anything_there_is_nothing(merging: Callable[..., tuple[Tensor, Tensor]]) -> None:
    first, log_first, second, log_second = parts(1, 1, 2, 8)
    for x in (log_first, log_second):
        x[0, 0, 1] = -math.inf
    given = [x.requires_grad_() for x in (first, log_first, second, log_second)]
    out, log_sum = merging(*given)
    assert (out[0, 0, 1] == 0).all()
    assert log_sum[0, 0, 1] == -math.inf
    assert log_sum[0, 0, 0].isfinite()
    for gradient in torch.autograd.grad(out.square().sum(), given):
        assert (gradient[0, 0, 1] == 0).all()
        assert gradient.isfinite().all()


def test_any_strides() -> None:
    given = parts(2, 3, 4, 16)
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in given]
    apart[2] = given[2].transpose(2, 3).contiguous().transpose(2, 3)
    for ours, expected in zip(merged(*apart), merged(*given), strict=True):
        assert torch.equal(ours, expected)


def test_large_scores_do_not_overflow_and_the_bits_are_the_same_twice() -> None:
    first, log_first, second, log_second = parts(1, 2, 3, 16)
    given = [first, log_first + 5_000, second, log_second + 5_000]
    agree(merged(*given)[0], plain(*(x.double() for x in given))[0], 1e-3)  # 5,000 leaves float32 few digits
    assert same_bits(lambda: merged(*given))


def test_the_operation_is_registered_as_pytorch_asks() -> None:
    torch.library.opcheck(torch.ops.gptapps.merge_attention.default, parts(2, 2, 3, 8, learns=True))


def test_the_derivative_of_the_operation_in_float64() -> None:
    given = [x.detach().double().requires_grad_() for x in parts(2, 2, 3, 4)]
    assert torch.autograd.gradcheck(torch.ops.gptapps.merge_attention.default, given)
