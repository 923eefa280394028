"""Attention in Triton's interpreter, forward and backward, against its definition in float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import same_bits
from torch import Tensor

from gptapps import kernels
from gptapps.errors import KernelUnavailableError
from gptapps.kernels import Packing, Visibility
from gptapps.kernels.dispatch import Impl

pytest.importorskip("triton")

# Sums of at most 256 products in float32. Half precision: operands, weights and outputs are rounded once each, and the
# interpreter truncates where a GPU rounds; since it multiplies in float32, half precision shows masks and offsets only.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 8e-2}
Shape = tuple[int, int, int, int, int, int]
"""B, H, K, T, S, D."""


@dataclass(frozen=True)
class Call:
    """What attention is called with."""

    q: Tensor
    k: Tensor
    v: Tensor
    visible: Visibility
    sinks: Tensor | None = None
    soft_cap: float | None = None

    @property
    def inputs(self) -> list[Tensor]:
        return [x for x in (self.q, self.k, self.v, self.sinks) if x is not None]

    def run(self, impl: Impl = "triton") -> Tensor:
        return kernels.attention(
            self.q,
            self.k,
            self.v,
            scale=0.3,
            visible=self.visible,
            sinks=self.sinks,
            soft_cap=self.soft_cap,
            impl=impl,
        )

    def with_gradients(self, impl: Impl = "triton") -> list[Tensor]:
        """Return the output and the gradient of each input."""
        learned = [x.detach().requires_grad_() for x in self.inputs]
        q, k, v, *sinks = learned
        call = replace(self, q=q, k=k, v=v, sinks=sinks[0] if sinks else None)
        out = call.run(impl)
        return [out.detach(), *torch.autograd.grad(out, learned, normal(*out.shape, seed=9).to(out.dtype))]

    def expected(self) -> list[Tensor]:
        sinks = None if self.sinks is None else self.sinks.double()
        wide = replace(self, q=self.q.double(), k=self.k.double(), v=self.v.double(), sinks=sinks)
        return wide.with_gradients("reference")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def call_of(shape: Shape, visible: Visibility, dtype: torch.dtype = torch.float32, **rest: Any) -> Call:
    batch, heads, kv_heads, tokens, keys, size = shape
    q, k, v = (normal(batch, n, h, size, seed=n + h) for h, n in ((heads, tokens), (kv_heads, keys), (kv_heads, keys)))
    v = v.flip(-1)
    q, k, v = (x.to(dtype).transpose(1, 2) for x in (q, k, v))
    return Call(q, k, v, visible, **rest)


def agree(call: Call) -> None:
    tolerance = TOLERANCES[call.q.dtype]
    for actual, expected in zip(call.with_gradients(), call.expected(), strict=True):
        assert actual.shape == expected.shape
        scale = max(float(expected.abs().max()), 1.0) if expected.numel() else 1.0
        torch.testing.assert_close(actual.double() / scale, expected / scale, atol=tolerance, rtol=0)


SMALL: Shape = (2, 4, 2, 37, 37, 16)
LONG: Shape = (1, 2, 1, 150, 200, 16)  # several tiles with and without a mask
HALF: Shape = (1, 1, 1, 200, 200, 16)  # the same in half precision, whose tiles are larger
MASK = torch.rand(2, 1, 37, 37, generator=torch.Generator().manual_seed(1)) < 0.4
MASK[0, 0, 5] = False  # a query that sees nothing
PREFIXES = torch.tensor([30, 5])

CASES: dict[str, Callable[[], Call]] = {
    "causal": lambda: call_of(LONG, Visibility(causal=True)),
    "causal, fewer keys than queries": lambda: call_of((1, 2, 2, 40, 23, 16), Visibility(causal=True)),
    "both ways": lambda: call_of(LONG, Visibility()),
    "window": lambda: call_of((1, 2, 1, 150, 170, 16), Visibility(causal=True, window=40)),
    "window of one token": lambda: call_of(SMALL, Visibility(causal=True, window=1)),
    "band": lambda: call_of((1, 1, 1, 150, 150, 16), Visibility(window=20)),
    "prefix": lambda: call_of(SMALL, Visibility(causal=True, prefix_lengths=PREFIXES)),
    "prefix and window": lambda: call_of(SMALL, Visibility(causal=True, window=4, prefix_lengths=PREFIXES)),
    "padded keys, a row without any": lambda: call_of(
        SMALL, Visibility(causal=True, key_lengths=torch.tensor([0, 20]))
    ),
    "behind tails of their own": lambda: call_of(
        (2, 2, 1, 20, 90, 16), Visibility(causal=True, window=30, offsets=torch.tensor([3, 70]))
    ),
    "a mask": lambda: call_of(SMALL, Visibility(mask=MASK)),
    "a mask for each head, causal": lambda: call_of(
        SMALL, Visibility(causal=True, mask=MASK.transpose(0, 1).expand(1, 2, 37, 37).repeat(1, 2, 1, 1))
    ),
    "sinks": lambda: call_of(SMALL, Visibility(mask=MASK), sinks=normal(4)),
    "soft cap": lambda: call_of(SMALL, Visibility(causal=True), soft_cap=2.0),
    "sinks, soft cap and window": lambda: call_of(
        SMALL, Visibility(causal=True, window=9), sinks=normal(4), soft_cap=5.0
    ),
    "packed": lambda: packed_call([70, 0, 1, 29]),
    "packed, other numbers of keys": lambda: packed_call([70, 0, 1, 29], [90, 7, 0, 40]),
    "packed, windows and sinks": lambda: replace(packed_call([70, 0, 33], window=11), sinks=normal(4)),
    "packed, both ways": lambda: packed_call([5, 40], causal=False),
    **{
        f"heads of {size}": partial(call_of, (1, 2, 1, 19, 35, size), Visibility(causal=True))
        for size in (8, 80, 96, 200, 256)
    },
    **{str(dtype): partial(call_of, SMALL, Visibility(causal=True), dtype) for dtype in TOLERANCES},
    # In half precision a tile of more than 64 queries is one of 128, over 64 keys each: whole, masked and passed over.
    "bfloat16, causal": lambda: call_of(HALF, Visibility(causal=True), torch.bfloat16),
    "float16, window": lambda: call_of((1, 1, 1, 330, 330, 16), Visibility(causal=True, window=193), torch.float16),
    "bfloat16, packed": lambda: packed_call([150, 10], dtype=torch.bfloat16, heads=1),
    "float16, packed, other numbers of keys": lambda: packed_call([70, 20], [200, 9], dtype=torch.float16, heads=1),
}


def packed_call(
    queries: list[int],
    keys: list[int] | None = None,
    *,
    causal: bool = True,
    window: int | None = None,
    dtype: torch.dtype = torch.float32,
    heads: int = 4,
) -> Call:
    bounds = [torch.tensor([0, *lengths]).cumsum(0).int() for lengths in (queries, keys or queries)]
    visible = Visibility(
        causal=causal, window=window, query_bounds=bounds[0], key_bounds=bounds[1], longest=max(queries)
    )
    return call_of((1, heads, max(heads // 2, 1), sum(queries), sum(keys or queries), 16), visible, dtype)


@pytest.mark.parametrize("name", CASES)
def test_attention_is_its_definition(name: str) -> None:
    agree(CASES[name]())


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw shapes and descriptions, empty ones among them."""
    batch, kv_heads, groups = draw(st.integers(0, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    tokens, keys, size = draw(st.integers(0, 40)), draw(st.integers(0, 40)), draw(st.sampled_from([16, 24, 33]))

    def lengths() -> Tensor | None:
        drawn = draw(st.none() | st.lists(st.integers(0, keys), min_size=batch, max_size=batch))
        return None if drawn is None else torch.tensor(drawn, dtype=torch.int64)

    visible = Visibility(
        causal=draw(st.booleans()),
        window=draw(st.none() | st.integers(1, 40)),
        key_lengths=lengths(),
        prefix_lengths=lengths(),
        offsets=lengths(),
    )
    sinks = normal(kv_heads * groups) if draw(st.booleans()) else None
    dtype, soft_cap = draw(st.sampled_from(list(TOLERANCES))), draw(st.none() | st.just(2.0))
    shape = (batch, kv_heads * groups, kv_heads, tokens, keys, size)
    return call_of(shape, visible, dtype, sinks=sinks, soft_cap=soft_cap)


@settings(max_examples=12)
@given(call=calls())
def test_any_shape(call: Call) -> None:
    agree(call)


@pytest.mark.slow
@settings(max_examples=300)
@given(call=calls())
def test_many_shapes(call: Call) -> None:
    agree(call)


@settings(max_examples=5)
@given(
    texts=st.lists(st.integers(0, 12), min_size=1, max_size=3),
    opening=st.integers(0, 12),
    window=st.none() | st.integers(1, 12),
)
def test_packed_texts_behind_an_opening(texts: list[int], opening: int, window: int | None) -> None:
    packing = Packing.of(texts, opening=opening, device="cpu")
    tokens = opening + sum(texts)
    q, k, v = (normal(1, heads, tokens, 16, seed=seed).requires_grad_() for seed, heads in enumerate((2, 1, 1)))

    def run(impl: Impl) -> list[Tensor]:
        out = kernels.packed_attention(q, k, v, packing, scale=0.3, window=window, impl=impl)
        return [out, *torch.autograd.grad(out.square().sum(), (q, k, v))]

    for actual, expected in zip(run("triton"), run("reference"), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)  # both sides in float32


@pytest.mark.parametrize("shared", [False, True])
def test_parts_merge_into_the_whole(shared: bool) -> None:
    q, *rest = (
        normal(*shape, seed=seed) for seed, shape in enumerate(((2, 4, 9, 16), *((1 if shared else 2, 2, 30, 16),) * 2))
    )
    learned = [x.requires_grad_() for x in (q, *rest)]

    def run(impl: Impl) -> list[Tensor]:
        q, k, v = learned
        offsets = torch.tensor([2, 20])
        behind = Visibility(causal=True, window=15, offsets=offsets + 12)
        first = kernels.partial_attention(q, k[:, :, :12], v[:, :, :12], scale=0.3, visible=behind, impl=impl)
        tail = Visibility(causal=True, window=15, offsets=offsets)
        second = kernels.partial_attention(q, k[:, :, 12:], v[:, :, 12:], scale=0.3, visible=tail, impl=impl)
        out, log_sum = kernels.merge_attention(first, second)
        return [out, log_sum, *torch.autograd.grad(out.square().sum() + log_sum.sin().sum(), learned)]

    for actual, expected in zip(run("triton"), run("reference"), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)  # both sides in float32


def test_neighbouring_channels_need_not_lie_side_by_side() -> None:
    call = call_of(SMALL, Visibility(causal=True, mask=MASK.transpose(2, 3).contiguous().transpose(2, 3)))
    apart = replace(call, **{x: getattr(call, x).transpose(2, 3).contiguous().transpose(2, 3) for x in "qkv"})
    assert apart.q.stride(-1) != 1
    agree(apart)


def test_inputs_stay_as_they_are_and_the_same_bits_come_out_twice() -> None:
    call = call_of(SMALL, Visibility(causal=True, mask=MASK), sinks=normal(4))
    copies = [x.clone() for x in call.inputs]
    once, again = call.with_gradients(), call.with_gradients()
    assert all(torch.equal(x, y) for x, y in zip(once, again, strict=True))
    assert all(torch.equal(x, copy) for x, copy in zip(call.inputs, copies, strict=True))


def test_same_bits_of_packed_texts_twice() -> None:
    packing = Packing.of([9, 0, 20], opening=5, device="cpu")
    learned = [normal(1, heads, 34, 16, seed=seed).requires_grad_() for seed, heads in enumerate((2, 1, 1))]

    def gradients() -> list[Tensor]:
        out = kernels.packed_attention(*learned, packing, scale=0.3, window=7, impl="triton")
        return [out, *torch.autograd.grad(out.square().sum(), learned)]

    assert same_bits(gradients)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    call = call_of(SMALL, Visibility(causal=True))
    whole = call.run()
    for row in range(2):
        alone = replace(call, **{x: getattr(call, x)[row : row + 1] for x in "qkv"}).run()
        assert torch.equal(alone, whole[row : row + 1])


def test_heads_too_large_for_the_kernels() -> None:
    call = call_of((1, 1, 1, 2, 2, 257), Visibility())
    with pytest.raises(KernelUnavailableError, match="at most 256 channels, not 257"):
        call.run()
    assert call.run("auto").shape == call.q.shape
    narrow = call_of((1, 1, 1, 2, 2, 32), Visibility())
    with pytest.raises(KernelUnavailableError, match="heads of one size of at most 256 channels, not 16 and 32"):
        replace(narrow, v=narrow.v[..., :16]).run()


def test_under_autocast_it_is_computed_as_pytorch_does() -> None:
    call = call_of(SMALL, Visibility(causal=True))
    mixed = replace(call, v=call.v.bfloat16())  # a rotation leaves queries and keys wide
    with torch.autocast("cpu", torch.bfloat16):
        out = mixed.run()
    assert out.dtype is torch.bfloat16
    torch.testing.assert_close(out.float(), call.run(), atol=TOLERANCES[torch.bfloat16], rtol=0)


# Keys 2**30 elements apart, in memory that is only promised until it is written to.
FAR_APART = """
import torch
from gptapps import kernels

near = torch.randn(1, 1, 4, 16)
room = torch.empty(3 * 2**30 + 16, dtype=torch.float16)
far = room.as_strided((1, 1, 4, 16), (0, 0, 2**30, 1))
far.copy_(near)
q, visible = near.half(), kernels.Visibility(causal=True)
inputs = [q.requires_grad_(), far.detach().requires_grad_(), far.detach().requires_grad_()]
close = [x.detach().contiguous().requires_grad_() for x in inputs]
outs = [kernels.attention(*x, scale=0.5, visible=visible, impl="triton") for x in (inputs, close)]
assert torch.equal(*outs)
grads = [torch.autograd.grad(out.float().square().sum(), x) for out, x in zip(outs, (inputs, close))]
assert all(torch.equal(x, y) for x, y in zip(*grads))
print("same")
"""


def test_offsets_past_two_to_the_31() -> None:
    process = subprocess.run([sys.executable, "-c", FAR_APART], capture_output=True, text=True, check=False)
    assert process.stdout.strip() == "same", process.stderr
