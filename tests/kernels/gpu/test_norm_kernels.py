"""The norms' kernels against float64, forward and backward."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import DEVICE, DTYPES, agree, agree_with_gradients, drawn, same_bits
from torch import Tensor

from gptapps import kernels
from gptapps.kernels.dispatch import Impl

pytest.importorskip("triton")
norms_backward = importlib.import_module("gptapps.kernels.gpu.norms_backward")


def run(
    centred: bool, added: bool, biased: bool, impl: Impl, x: Tensor, weight: Tensor, *others: Tensor
) -> tuple[Tensor, ...]:
    bias = others[0] if biased else None
    residual = others[-1] if added else None
    if residual is not None and centred:
        return kernels.add_layer_norm(x, residual, weight, bias, 1e-5, impl=impl)
    if residual is not None:
        return kernels.add_rms_norm(x, residual, weight, 1e-5, impl=impl)
    if centred:
        return (kernels.layer_norm(x, weight, bias, 1e-5, impl=impl),)
    return (kernels.rms_norm(x, weight, 1e-5, impl=impl),)


def check(shape: tuple[int, ...], dtype: torch.dtype, centred: bool, added: bool, biased: bool) -> None:
    biased = biased and centred
    channels = shape[-1:]
    shapes = [shape, channels, *([channels] if biased else []), *([shape] if added else [])]
    inputs = [drawn(*shape, seed=i, dtype=dtype, learns=True) for i, shape in enumerate(shapes)]
    agree_with_gradients(
        lambda *x: run(centred, added, biased, "triton", *x),
        lambda *x: run(centred, added, biased, "reference", *x),
        inputs,
    )


@given(
    rows=st.lists(st.integers(0, 4), max_size=3),
    channels=st.sampled_from([2, 7, 16, 33, 576]),
    dtype=st.sampled_from(DTYPES),
    centred=st.booleans(),
    added=st.booleans(),
    biased=st.booleans(),
)
def test_outputs_and_gradients(
    rows: list[int], channels: int, dtype: torch.dtype, centred: bool, added: bool, biased: bool
) -> None:
    check((*rows, channels), dtype, centred, added, biased)


@pytest.mark.parametrize("centred", [False, True])
def test_many_tiles_share_a_program(centred: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms_backward, "multiprocessors", lambda device: 1)
    check((71, 300), torch.float32, centred, False, True)


@pytest.mark.parametrize(("rows", "channels", "centred"), [(2, 5000, True), (2, 5000, False), (2, 9000, False)])
def test_long_rows(rows: int, channels: int, centred: bool) -> None:
    check((rows, channels), torch.float32, centred, True, True)


def test_rows_longer_than_a_tile_and_more_than_a_piece() -> None:
    check((33, 9000), torch.float32, True, True, True)


def test_a_mean_far_from_zero_takes_nothing_off_the_variance() -> None:
    x, weight = drawn(2, 9000) + 3000, torch.ones(9000, device=DEVICE)
    out = kernels.layer_norm(x, weight, None, 0.0, impl="triton")
    agree(out, kernels.layer_norm(x.double(), weight.double(), None, 0.0), 1e-3)  # x itself is known to 1e-4


def test_half_precision_is_computed_wide() -> None:
    x = torch.full((1, 8), 300.0, dtype=torch.float16, device=DEVICE)  # whose square is past float16
    assert torch.equal(kernels.rms_norm(x, torch.ones_like(x[0]), 1e-6, impl="triton"), torch.ones_like(x))


@pytest.mark.parametrize("view", ["heads", "every other row", "transposed", "shifted"])
def test_rows_are_read_where_they_lie(view: str) -> None:
    whole = drawn(2, 6, 8, 16, learns=True)
    views = {
        "heads": lambda x: x[:, :, 2:5],
        "every other row": lambda x: x[0, 0, ::2],
        "transposed": lambda x: x.transpose(1, 3),
        "shifted": lambda x: x[:, 1:, :, :8],
    }
    channels = views[view](whole).shape[-1]
    agree_with_gradients(
        lambda x, weight: kernels.rms_norm(views[view](x), weight, 1e-5, impl="triton"),
        lambda x, weight: kernels.rms_norm(views[view](x), weight, 1e-5),
        (whole, drawn(channels, seed=1, learns=True)),
    )


def test_wide_weights_widen_the_output() -> None:
    x, weight = drawn(3, 16, dtype=torch.bfloat16), drawn(16, seed=1)
    out = kernels.rms_norm(x, weight, 1e-5, impl="triton")
    assert out.dtype is kernels.rms_norm(x, weight, 1e-5, impl="reference").dtype is torch.float32


@pytest.mark.parametrize("centred", [False, True])
def test_residuals_weights_and_biases_that_lie_apart(centred: bool) -> None:
    inputs = [drawn(*shape, seed=i, learns=True) for i, shape in enumerate(((5, 12), (12, 5), (12, 2), (12, 2)))]

    def both(impl: Impl, x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        return run(centred, True, True, impl, x, weight[:, 0], bias[:, 1], residual.T)

    given = inputs if centred else [*inputs[:3], inputs[3].detach()]
    agree_with_gradients(lambda *x: both("triton", *x), lambda *x: both("reference", *x), given)


def test_weights_and_biases_of_one_number() -> None:
    x, weight, bias = drawn(5, 12, learns=True), drawn(1, seed=1, learns=True), drawn(1, seed=2, learns=True)
    agree_with_gradients(
        lambda x, weight, bias: run(True, False, True, "triton", x, weight.expand(12), bias.expand(12)),
        lambda x, weight, bias: run(True, False, True, "reference", x, weight.expand(12), bias.expand(12)),
        (x, weight, bias),
    )


@pytest.mark.parametrize("tile", [8192, 32])  # rows that fit it, and rows whose weights' gradient has its own kernel
def test_same_bits_of_layer_norm_twice(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms_backward, "_LONGEST_TILE", tile)
    shapes = ((130, 40), (130, 40), (40,), (40,))
    x, residual, weight, bias = inputs = [drawn(*shape, seed=i, learns=True) for i, shape in enumerate(shapes)]

    def gradients() -> tuple[Tensor, ...]:
        out, summed = kernels.add_layer_norm(x, residual, weight, bias, 1e-5, impl="triton")
        return (out, summed, *torch.autograd.grad((out.square() + summed).sum(), inputs))

    assert same_bits(gradients)


def test_same_bits_twice() -> None:
    x, residual, weight = (drawn(*shape, seed=i, learns=True) for i, shape in enumerate(((70, 24), (70, 24), (24,))))

    def gradients() -> tuple[Tensor, ...]:
        out, summed = kernels.add_rms_norm(x, residual, weight, 1e-5, impl="triton")
        return torch.autograd.grad((out.square() + summed).sum(), (x, residual, weight))

    assert same_bits(gradients)


@pytest.mark.parametrize(("centred", "added"), [(True, True), (False, False)])
def test_the_operation_is_registered_as_pytorch_asks(centred: bool, added: bool) -> None:
    x, weight = drawn(3, 6, learns=True), drawn(6, seed=1, learns=True)
    arguments = (x, x.detach() * 2 if added else None, weight, weight if centred else None, 1e-5, centred)
    torch.library.opcheck(torch.ops.gptapps.norm.default, arguments)
    statistics = torch.ops.gptapps.norm(*arguments)[2].detach()
    backward = (x.detach(), None, x.detach() + 1, weight.detach(), statistics, centred, centred)
    torch.library.opcheck(torch.ops.gptapps.norm_backward.default, backward)


@pytest.mark.parametrize("centred", [False, True])
def test_the_reference_of_the_operation_in_float64(centred: bool) -> None:
    x, residual, weight, bias = (
        drawn(*shape, seed=i, dtype=torch.float64, learns=True) for i, shape in enumerate(((3, 5), (3, 5), (5,), (5,)))
    )
    plain = kernels.add_layer_norm(x, residual, weight, bias, 1e-5) if centred else None
    plain = plain or kernels.add_rms_norm(x, residual, weight, 1e-5)
    inputs = (x, residual, weight, *([bias] if centred else []))

    def operation(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, summed, _ = torch.ops.gptapps.norm(x, residual, weight, bias, 1e-5, centred)
        return out, summed

    for ours, theirs in zip(operation(*inputs), plain, strict=True):
        agree(ours, theirs)
    assert torch.autograd.gradcheck(operation, inputs)
