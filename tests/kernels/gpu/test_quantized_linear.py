"""Linear layers of quantized weights: what the integers stand for, and the product in Triton's interpreter."""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import same_bits
from torch import Tensor

from gptapps.errors import OptionError
from gptapps.kernels import dequantize_weight, quantize_weight, quantized_linear
from gptapps.kernels.quantized_linear import QuantizedWeight

Bits = Literal[4, 8]

# Sums of some hundred products in float32; half precision rounds the output once, and the interpreter truncates.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@given(
    features=st.integers(1, 5),
    channels=st.integers(1, 100).map(lambda half: 2 * half),
    bits=st.sampled_from([4, 8]),
    group=st.sampled_from([None, 32, 64]),
    seed=st.integers(0, 100),
)
def test_no_weight_is_farther_off_than_half_a_step(
    features: int, channels: int, bits: Bits, group: int | None, seed: int
) -> None:
    weight = normal(features, channels, seed=seed)
    quantized = quantize_weight(weight, bits=bits, group=group)
    assert quantized.bits == bits
    assert quantized.values.nbytes == features * channels * bits // 8
    steps = quantized.scales.abs().repeat_interleave(quantized.group, 1)[:, :channels]
    off = (dequantize_weight(quantized) - weight).abs()
    limit = steps * (0.5 if bits == 8 else 1)  # the far end of 4 bits is a step short on one side
    assert (off <= limit * 1.0001).all()
    for start in range(0, channels, quantized.group):
        span = slice(start, start + quantized.group)
        farthest = weight[:, span].abs().argmax(1, keepdim=True)
        torch.testing.assert_close(
            dequantize_weight(quantized)[:, span].gather(1, farthest), weight[:, span].gather(1, farthest)
        )


def test_a_group_of_zeros_stays_zero() -> None:
    for bits in (4, 8):
        quantized = quantize_weight(torch.zeros(2, 64), bits=bits, group=32)
        assert not dequantize_weight(quantized).any()


def test_integers_are_kept() -> None:
    integers = torch.tensor([[-8.0, 7, 0, 3, -1, 5]])
    assert torch.equal(dequantize_weight(quantize_weight(integers, bits=4)), integers)


@pytest.mark.parametrize(
    ("columns", "bits", "group", "fault"),
    [(64, 4, 16, "Groups of 16"), (64, 8, 48, "power of two"), (63, 4, None, "63 columns")],
)
def test_what_cannot_be_quantized_is_refused(columns: int, bits: Bits, group: int | None, fault: str) -> None:
    with pytest.raises(OptionError, match=fault):
        quantize_weight(torch.ones(2, columns), bits=bits, group=group)


@settings(max_examples=15)
@given(
    rows=st.integers(0, 20),
    features=st.integers(1, 70),
    channels=st.integers(1, 150).map(lambda half: 2 * half),
    bits=st.sampled_from([4, 8]),
    group=st.sampled_from([None, 32, 64, 128]),
    biased=st.booleans(),
    impl=st.sampled_from(["triton", "triton", "reference"]),
)
def test_any_shape(
    rows: int, features: int, channels: int, bits: Bits, group: int | None, biased: bool, impl: Literal["triton"]
) -> None:
    check(rows, features, channels, bits, group, biased, torch.float32, impl)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("bits", [4, 8])
def test_types_and_splits(bits: Bits, dtype: torch.dtype) -> None:
    check(3, 40, 1100, bits, None, True, dtype, "triton")


@pytest.mark.parametrize("bits", [4, 8])
def test_same_bits_of_several_splits_twice(bits: Bits) -> None:
    pytest.importorskip("triton")
    x, weight, bias = normal(3, 1100), quantize_weight(normal(40, 1100, seed=1), bits=bits), normal(40, seed=2)
    assert same_bits(lambda: [quantized_linear(x, weight, bias, impl="triton")])


def check(
    rows: int,
    features: int,
    channels: int,
    bits: Bits,
    group: int | None,
    biased: bool,
    dtype: torch.dtype,
    impl: Literal["triton"],
) -> None:
    pytest.importorskip("triton")
    x, weight = (
        normal(rows, channels, dtype=dtype),
        quantize_weight(normal(features, channels, seed=1), bits=bits, group=group),
    )
    bias = normal(features, seed=2, dtype=dtype) if biased else None
    expected = x.double() @ dequantize_weight(weight).double().T + (bias.double() if bias is not None else 0)
    out = quantized_linear(x, weight, bias, impl=impl)
    assert out.dtype is dtype
    torch.testing.assert_close(out.double(), expected, atol=TOLERANCES[dtype] * channels**0.5, rtol=TOLERANCES[dtype])


@pytest.mark.parametrize("rows", [2, 80])
def test_any_leading_shape_and_stride(rows: int) -> None:
    pytest.importorskip("triton")
    weight = quantize_weight(normal(9, 64), bits=4)
    wide = normal(rows, 64, 3, 2, seed=1)[..., 0].transpose(1, 2)  # (rows, 3, 64), nothing contiguous
    out = quantized_linear(wide, weight, impl="triton")
    torch.testing.assert_close(out, wide @ dequantize_weight(weight).T)
    again = quantized_linear(wide, weight, impl="triton")
    assert torch.equal(out, again)


def test_a_part_of_a_matrix() -> None:
    pytest.importorskip("triton")
    whole, x = quantize_weight(normal(12, 128), bits=8, group=64), normal(3, 128, seed=1)
    part = QuantizedWeight(whole.values[::2], whole.scales[::2], 64)
    torch.testing.assert_close(quantized_linear(x, part, impl="triton"), x @ dequantize_weight(part).T)


def test_many_rows_run_on_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    from gptapps.kernels.gpu import quantized_linear as launcher

    launched = []
    launch = launcher.quantized_linear
    monkeypatch.setattr(launcher, "quantized_linear", lambda x, *rest: launched.append(len(x)) or launch(x, *rest))
    weight, x = quantize_weight(normal(9, 64), bits=4), normal(130, 64, seed=1)
    out = quantized_linear(x, weight, impl="triton")
    assert launched == [64, 64, 2]
    torch.testing.assert_close(out, x @ dequantize_weight(weight).T)


def test_the_operator_is_registered_as_pytorch_asks() -> None:
    pytest.importorskip("triton")
    for bits, dtype in ((4, torch.float32), (8, torch.float64)):
        weight = quantize_weight(normal(5, 64), bits=bits)
        arguments = (normal(3, 64, dtype=dtype), weight.values, weight.scales, normal(5, dtype=dtype), weight.group)
        torch.library.opcheck(torch.ops.gptapps.quantized_linear.default, arguments)


def test_derivatives_of_the_reference() -> None:
    weight = quantize_weight(normal(3, 32), bits=8)
    inputs = [normal(*shape, dtype=torch.float64).requires_grad_() for shape in ((2, 32), (3,))]
    assert torch.autograd.gradcheck(lambda x, bias: quantized_linear(x, weight, bias), inputs)


def test_strides_of_rows_past_what_32_bits_hold() -> None:
    """In a process of its own, which a wrong address would end; what isn't touched takes no memory."""
    pytest.importorskip("triton")
    program = """
import torch
from gptapps.kernels.gpu.quantized_linear import quantized_linear
x = torch.empty(2**31 + 64, dtype=torch.float16).as_strided((2, 64), (2**31, 1))
x.copy_(torch.randn(2, 64))
values, scales = torch.randint(-127, 128, (3, 64), dtype=torch.int8), torch.ones(3, 1)
near, far = (quantized_linear(one, values, scales, None, 64) for one in (x.contiguous(), x))
assert torch.equal(near, far)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
