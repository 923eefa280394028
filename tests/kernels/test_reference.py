"""The reference operations against their definitions, and their derivatives against differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.activations import ACT2FN

from gptapps import kernels
from gptapps.kernels import reference
from gptapps.kernels.reference_attention import open_attention

DOUBLE_TOLERANCE = 1e-10  # two orders of summation in float64
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu", "relu": "relu"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For tensors this small, waking a second thread takes longer than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def close(actual: Tensor, expected: Tensor, tolerance: float = DOUBLE_TOLERANCE) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def naive_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, visible: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = (x.expand(len(q), -1, -1, -1).repeat_interleave(groups, 1) for x in (k, v))
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) * scale
    return scores.masked_fill(~visible, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 4), (17, 1), (2, 0)])
@pytest.mark.parametrize("biased", [False, True])
def test_linear_is_its_definition(shape: tuple[int, int], biased: bool, dtype: torch.dtype) -> None:
    x, weight = normal(*shape, 8, dtype=dtype), normal(5, 8, seed=1, dtype=dtype)
    bias = normal(5, seed=2, dtype=dtype) if biased else None
    expected = x.double() @ weight.double().T + (bias.double() if bias is not None else 0)
    out = kernels.linear(x, weight, bias)
    assert out.dtype is dtype
    close(out.double(), expected, {torch.float32: 1e-5, torch.float64: DOUBLE_TOLERANCE, torch.bfloat16: 0.1}[dtype])


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_linear_in_float32_has_the_derivatives_of_float64(rows: int) -> None:
    def derivatives(dtype: torch.dtype) -> list[Tensor]:
        inputs = [
            normal(*shape, seed=i, dtype=dtype).requires_grad_() for i, shape in enumerate(((rows, 8), (5, 8), (5,)))
        ]
        weights = normal(rows, 5, seed=3, dtype=dtype)
        return [x.double() for x in torch.autograd.grad((kernels.linear(*inputs) * weights).sum(), inputs)]

    for narrow, wide in zip(derivatives(torch.float32), derivatives(torch.float64), strict=True):
        close(narrow, wide, 1e-5)


def test_layer_norm_is_its_definition() -> None:
    x, weight, bias = normal(3, 5, 7), normal(7, seed=1), normal(7, seed=2)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight + bias
    close(kernels.layer_norm(x, weight, bias, 1e-3), expected)
    close(kernels.layer_norm(x, weight, None, 1e-3), expected - bias)


def test_rms_norm_is_its_definition() -> None:
    x, weight = normal(3, 5, 7), normal(7, seed=1)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight
    close(kernels.rms_norm(x, weight, 1e-3), expected)


def test_rms_norm_of_half_precision_is_computed_wide() -> None:
    x = torch.full((1, 8), 300.0, dtype=torch.float16)  # whose square is past float16
    out = kernels.rms_norm(x, torch.ones(8, dtype=torch.float16), 1e-6)
    assert out.dtype is torch.float16
    assert torch.equal(out, torch.ones_like(x))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("rotated", [4, 8])
def test_rotary_is_a_product_of_complex_numbers(interleaved: bool, rotated: int) -> None:
    x, angles = normal(2, 3, 4, 8), normal(2, 3, 1, rotated // 2, seed=1)
    turned = x[..., :rotated]
    if interleaved:
        first, second = turned[..., ::2], turned[..., 1::2]
        cos = angles.cos().repeat_interleave(2, -1)
        sin = torch.stack((-angles.sin(), angles.sin()), -1).flatten(-2)
    else:
        first, second = turned.chunk(2, -1)
        cos, sin = torch.cat((angles.cos(), angles.cos()), -1), torch.cat((-angles.sin(), angles.sin()), -1)
    product = torch.complex(first, second) * torch.polar(torch.ones_like(angles), angles)
    expected = torch.view_as_real(product).flatten(-2) if interleaved else torch.cat((product.real, product.imag), -1)
    out = kernels.rotary(x, cos, sin, interleaved=interleaved)
    close(out[..., :rotated], expected)
    assert torch.equal(out[..., rotated:], x[..., rotated:])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_transformers(name: str) -> None:
    x = normal(50) * 3
    close(kernels.plain_activation(x, name), ACT2FN[ACTIVATIONS[name]](x))
    both = torch.cat((x, normal(50, seed=1)))
    close(kernels.gated_activation(both, name), ACT2FN[ACTIVATIONS[name]](x) * both[50:])


def test_an_activation_there_is_not() -> None:
    with pytest.raises(ValueError, match="no activation 'swishy'"):
        kernels.plain_activation(normal(3), "swishy")


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("tokens", [1, 5])
def test_attention_is_its_definition(heads: int, kv_heads: int, tokens: int) -> None:
    q, k, v = normal(2, heads, tokens, 8), normal(2, kv_heads, 5, 8, seed=1), normal(2, kv_heads, 5, 8, seed=2)
    everything = torch.ones(1, 1, tokens, 5, dtype=torch.bool)
    some = torch.rand(2, 1, tokens, 5, generator=torch.Generator().manual_seed(3)) < 0.6
    some[..., 0] = True
    for mask in (None, some):
        out = reference.attention(q, k, v, scale=0.3, mask=mask, causal=False)
        close(out, naive_attention(q, k, v, 0.3, everything if mask is None else mask))
    if tokens == 5:
        out = reference.attention(q, k, v, scale=0.3, mask=None, causal=True)
        close(out, naive_attention(q, k, v, 0.3, torch.ones(5, 5, dtype=torch.bool).tril()))


@st.composite
def split_attention(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor, list[int], bool]:
    """Draw queries, keys, values, what may be seen, sizes of the parts, and whether rows share the keys."""
    batch, kv_heads, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    tokens, size = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    parts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    keys, shared = sum(parts) + 1, draw(st.booleans())
    seed = draw(st.integers(0, 1000))
    rows = 1 if shared else batch
    q = 3 * normal(batch, kv_heads * groups, tokens, size, seed=seed)
    k, v = (normal(rows, kv_heads, keys, size, seed=seed + i) for i in (1, 2))
    density = draw(st.sampled_from([0.2, 0.7, 1.1]))
    visible = torch.rand(batch, 1, tokens, keys, generator=torch.Generator().manual_seed(seed)) < density
    visible[..., -1] = True  # each query sees itself at least
    return q, k, v, visible, [*parts, 1], shared


@given(case=split_attention())
def test_parts_merge_into_the_whole(case: tuple[Tensor, Tensor, Tensor, Tensor, list[int], bool]) -> None:
    q, k, v, visible, sizes, _ = case
    pieces = zip(k.split(sizes, 2), v.split(sizes, 2), visible.split(sizes, 3), strict=True)
    parts = [reference.partial_attention(q, keys, values, scale=0.7, mask=mask) for keys, values, mask in pieces]
    total = parts[-1]  # what everyone sees, so that there is something to merge into
    for part in parts[:-1]:
        total = kernels.merge_attention(total, part)
    close(total[0], naive_attention(q, k, v, 0.7, visible))
    whole = reference.partial_attention(q, k, v, scale=0.7, mask=visible)
    close(total[0], whole[0])
    close(total[1], whole[1])


def test_one_mask_for_all_rows_and_none_at_all() -> None:
    q, k, v = normal(3, 4, 2, 5), normal(1, 2, 6, 5, seed=1), normal(1, 2, 6, 5, seed=2)
    everything = torch.ones(1, 1, 2, 6, dtype=torch.bool)
    for keys, values in ((k, v), (k.repeat(3, 1, 1, 1), v.repeat(3, 1, 1, 1))):
        masked = reference.partial_attention(q, keys, values, scale=0.5, mask=everything)
        free = reference.partial_attention(q, keys, values, scale=0.5, mask=None)
        close(masked[0], free[0])
        close(masked[0], naive_attention(q, k, v, 0.5, everything))


def test_a_query_that_sees_nothing() -> None:
    q, k = normal(2, 2, 3, 4), normal(2, 1, 5, 4, seed=1)
    mask = torch.ones(2, 1, 3, 5, dtype=torch.bool)
    mask[1, 0, 2] = False
    out, log_sum = reference.partial_attention(q, k, k, scale=1.0, mask=mask)
    assert torch.equal(out[1, :, 2], torch.zeros(2, 4, dtype=torch.float64))
    assert (log_sum[1, :, 2] == -math.inf).all()
    assert log_sum.isfinite().sum() == log_sum.numel() - 2


def test_partial_attention_of_half_precision_is_wide() -> None:
    q, k = normal(1, 2, 3, 4, dtype=torch.bfloat16), normal(1, 2, 5, 4, seed=1, dtype=torch.bfloat16)
    out, log_sum = reference.partial_attention(q, k, k, scale=0.5, mask=None)
    assert (out.dtype, log_sum.dtype) == (torch.float32, torch.float32)
    everything = torch.ones(1, 1, 3, 5, dtype=torch.bool)
    close(out, naive_attention(q.float(), k.float(), k.float(), 0.5, everything), 1e-5)


MASK = torch.tensor([[1, 0, 1, 1], [1, 1, 0, 0]], dtype=torch.bool).view(1, 1, 2, 4)

DIFFERENTIABLE: dict[str, tuple[Callable[..., object], tuple[tuple[int, ...], ...]]] = {
    "linear": (kernels.linear, ((2, 3, 5), (4, 5), (4,))),
    "layer_norm": (lambda x, w, b: kernels.layer_norm(x, w, b, 1e-5), ((2, 3, 5), (5,), (5,))),
    "rms_norm": (lambda x, w: kernels.rms_norm(x, w, 1e-5), ((2, 3, 5), (5,))),
    "rotary": (
        lambda x, c, s: kernels.rotary(x, c, s, interleaved=False),
        ((2, 3, 2, 6), (2, 3, 1, 4), (2, 3, 1, 4)),
    ),
    "rotary interleaved": (
        lambda x, c, s: kernels.rotary(x, c, s, interleaved=True),
        ((2, 3, 2, 6), (2, 3, 1, 4), (2, 3, 1, 4)),
    ),
    **{f"plain {name}": (partial(kernels.plain_activation, name=name), ((3, 4),)) for name in ACTIVATIONS},
    **{f"gated {name}": (partial(kernels.gated_activation, name=name), ((3, 4),)) for name in ACTIVATIONS},
    "attention causal": (
        lambda q, k, v: reference.attention(q, k, v, scale=0.4, mask=None, causal=True),
        ((2, 4, 3, 2), (2, 2, 3, 2), (2, 2, 3, 2)),
    ),
    "attention masked": (
        lambda q, k, v: reference.attention(q, k, v, scale=0.4, mask=MASK, causal=False),
        ((2, 4, 2, 3), (2, 2, 4, 3), (2, 2, 4, 3)),
    ),
    "attention of one token": (
        lambda q, k, v: reference.attention(q, k, v, scale=0.4, mask=None, causal=False),
        ((2, 4, 1, 3), (2, 2, 4, 3), (2, 2, 4, 3)),
    ),
    "partial attention": (
        lambda q, k, v: reference.partial_attention(q, k, v, scale=0.4, mask=MASK),
        ((2, 4, 2, 3), (2, 2, 4, 3), (2, 2, 4, 3)),
    ),
    "partial attention, shared keys": (
        lambda q, k, v: reference.partial_attention(q, k, v, scale=0.4, mask=MASK),
        ((2, 4, 2, 3), (1, 2, 4, 3), (1, 2, 4, 3)),
    ),
    "packed attention": (
        lambda q, k, v: reference.packed_attention(q, k, v, lengths=[3, 1, 2], scale=0.4, window=2),
        ((1, 4, 6, 2), (1, 2, 6, 2), (1, 2, 6, 2)),
    ),
    "packed attention behind an opening": (
        lambda q, k, v: reference.packed_attention(q, k, v, shared=2, lengths=[3, 1], scale=0.4, window=None),
        ((1, 4, 6, 2), (1, 2, 6, 2), (1, 2, 6, 2)),
    ),
    "packed attention, both ways": (
        lambda q, k, v: open_attention(q, k, v, [4, 2], scale=0.4, window=2),
        ((1, 4, 6, 2), (1, 2, 6, 2), (1, 2, 6, 2)),
    ),
    "merge attention": (
        lambda a, la, b, lb: kernels.merge_attention((a, la), (b, lb)),
        ((2, 3, 4), (2, 3, 1), (2, 3, 4), (2, 3, 1)),
    ),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name: str) -> None:
    function, shapes = DIFFERENTIABLE[name]
    inputs = tuple(normal(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes))
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_inputs_are_never_written_into(name: str) -> None:
    function, shapes = DIFFERENTIABLE[name]
    inputs = tuple(normal(*shape, seed=seed) for seed, shape in enumerate(shapes))
    copies = [x.clone() for x in inputs]
    function(*inputs)
    assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies, strict=True))
