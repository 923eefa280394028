"""Decode attention in Triton's interpreter against its definition in float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptapps import kernels
from gptapps.errors import KernelUnavailableError
from gptapps.kernels.decode_attention import SharedPrefix, decode_attention

pytest.importorskip("triton")

# Sums of at most a hundred products in float32; outputs of half precision are rounded once, operands twice, and the
# interpreter truncates where a GPU rounds. It multiplies in float32, so half precision shows masks and offsets only.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


@dataclass(frozen=True)
class Call:
    """What decode attention is called with."""

    q: Tensor
    keys: Tensor
    values: Tensor
    lengths: Tensor
    options: Mapping[str, Any]

    def run(self, impl: str = "triton") -> tuple[Tensor, Tensor]:
        options = {"scale": self.q.shape[2] ** -0.5, **self.options}
        return decode_attention(self.q, self.keys, self.values, self.lengths, impl=impl, **options)  # type: ignore[arg-type]

    def expected(self) -> tuple[Tensor, Tensor]:
        """Answer query by query, key by key, in float64."""
        out = torch.zeros(self.q.shape, dtype=torch.float64)
        log_sums = torch.full(self.q.shape[:2], -torch.inf, dtype=torch.float64)
        scale, window = self.options.get("scale", self.q.shape[2] ** -0.5), self.options.get("window")
        sinks, cap = self.options.get("sinks"), self.options.get("soft_cap")
        for row, head in torch.cartesian_prod(*map(torch.arange, log_sums.shape)).tolist():
            key_head = head * self.keys.shape[1] // log_sums.shape[1]
            length = int(self.lengths[row])
            parts = [(self.keys[row], self.values[row], length, length - 1)]
            parts += [
                (one.keys, one.values, int(one.lengths[row]), int(one.places[row]))
                for one in self.options.get("prefixes", ())
            ]
            seen_keys, seen_values = [], []
            for keys, values, seen, place in parts:
                first = 0 if window is None else max(place + 1 - window, 0)
                seen_keys.append(keys[key_head, first:seen].double())
                seen_values.append(values[key_head, first:seen].double())
            scores = torch.cat(seen_keys) @ self.q[row, head].double() * scale
            if cap is not None:
                scores = cap * torch.tanh(scores / cap)
            values = torch.cat(seen_values)
            if sinks is not None:
                scores = torch.cat((scores, sinks[head : head + 1].double()))
                values = torch.cat((values, torch.zeros_like(out[row, head : head + 1])))
            if len(scores):
                log_sums[row, head] = scores.logsumexp(0)
                out[row, head] = scores.softmax(0) @ values
        return out, log_sums

    def check(self, impl: str = "triton") -> None:
        tolerance = TOLERANCES[self.q.dtype]
        out, log_sums = self.run(impl)
        expected, expected_log_sums = self.expected()
        assert (out.dtype, log_sums.dtype) == (self.q.dtype, torch.float32)
        torch.testing.assert_close(out.double(), expected, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(log_sums.double(), expected_log_sums, atol=1e-4, rtol=1e-4)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def call(
    batch: int,
    group: int,
    kv_heads: int,
    slots: int,
    size: int,
    *,
    dtype: torch.dtype = torch.float32,
    lengths: list[int] | None = None,
    prefixes: tuple[int, ...] = (),
    behind: list[bool] | None = None,
    **options: Any,
) -> Call:
    """Return a call whose unwritten slots hold NaN; every row stands behind the prefixes, or those ``behind`` says."""
    written = torch.tensor(lengths or [slots] * batch)
    q = normal(batch, group * kv_heads, size, dtype=dtype)
    keys, values = (normal(batch, kv_heads, slots, size, seed=seed, dtype=dtype) for seed in (1, 2))
    for row, length in enumerate(written.tolist()):
        keys[row, :, length:] = values[row, :, length:] = torch.nan
    here = torch.tensor(behind or [True] * batch)
    shared, start = [], 0
    for seed, length in enumerate(prefixes, 3):
        both = (normal(kv_heads, length, size, seed=seed + shift, dtype=dtype) for shift in (0, 10))
        shared.append(SharedPrefix(*both, here * length, sum(prefixes) - start + written - 1))
        start += length
    return Call(q, keys, values, written, {"prefixes": shared, **options})


@settings(max_examples=15)
@given(
    batch=st.integers(1, 3),
    group=st.integers(1, 3),
    kv_heads=st.integers(1, 2),
    size=st.sampled_from([16, 20, 40]),
    lengths=st.lists(st.integers(0, 80), min_size=3, max_size=3),
    prefixes=st.lists(st.integers(1, 70), max_size=2),
    behind=st.lists(st.booleans(), min_size=3, max_size=3),
    window=st.none() | st.integers(1, 100),
    soft_cap=st.sampled_from([None, 2.0]),
    sunk=st.booleans(),
    impl=st.sampled_from(["triton", "triton", "reference"]),
)
def test_any_shape(
    batch: int,
    group: int,
    kv_heads: int,
    size: int,
    lengths: list[int],
    prefixes: list[int],
    behind: list[bool],
    window: int | None,
    soft_cap: float | None,
    sunk: bool,
    impl: str,
) -> None:
    sinks = normal(group * kv_heads, seed=9) if sunk else None
    options = {"window": window, "soft_cap": soft_cap, "sinks": sinks}
    call(
        batch,
        group,
        kv_heads,
        81,
        size,
        lengths=lengths[:batch],
        prefixes=tuple(prefixes),
        behind=behind[:batch],
        **options,
    ).check(impl)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("group", "size"), [(1, 64), (8, 80), (20, 96), (4, 256)])
def test_sizes_and_groups_of_models(group: int, size: int, dtype: torch.dtype) -> None:
    call(2, group, 1, 70, size, dtype=dtype, lengths=[70, 33], prefixes=(40,)).check()


def test_a_row_that_sees_nothing_is_zero() -> None:
    one = call(3, 2, 1, 9, 16, lengths=[0, 0, 4], prefixes=(5,), behind=[False, True, True])
    out, log_sums = one.run()
    assert not out[0].any()
    assert (log_sums[0] == -torch.inf).all()
    one.check()
    replace(one, options={}).check()


def test_a_cache_with_no_slots_and_a_batch_of_no_rows() -> None:
    call(2, 1, 1, 0, 16, prefixes=(5,)).check()
    out, log_sums = call(0, 1, 2, 4, 16).run()
    assert (out.shape, log_sums.shape) == ((0, 2, 16), (0, 2))


def test_tensors_that_are_not_contiguous() -> None:
    """Queries and keys as the backbone slices them: between other heads, and out of a cache with rows beside."""
    one = call(2, 3, 2, 30, 16, lengths=[30, 11])
    around = normal(2, 1, 9, 16, seed=7)
    around[:, 0, :6] = one.q
    cache = torch.full((2, 4, 2, 50, 16), torch.nan)
    cache[0, 1:3, :, :30], cache[1, 1:3, :, :30] = one.keys, one.values
    cut = Call(around[:, 0, :6], cache[0, 1:3], cache[1, 1:3], one.lengths, {})
    torch.testing.assert_close(cut.run(), one.run())
    turned = Call(
        *(x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in (one.q, one.keys, one.values)), one.lengths, {}
    )
    torch.testing.assert_close(turned.run(), one.run())


def test_the_same_bits_twice_and_no_input_is_written_into() -> None:
    one = call(2, 4, 1, 80, 32, lengths=[80, 50], prefixes=(64,), window=60)
    tensors = (one.q, one.keys, one.values, one.lengths)
    copies = [x.clone() for x in tensors]
    first, second = one.run(), one.run()
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert all(torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(tensors, copies, strict=True))


def test_what_is_launched_depends_on_shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph replays one launch while the lengths grow."""
    from gptapps.kernels.gpu import decode_attention as module

    grids: list[object] = []
    read = module._read
    monkeypatch.setattr(module, "_read", lambda *args: grids.append(args[1].grid) or read(*args))
    for lengths in ([1, 2], [80, 40]):
        call(2, 1, 2, 80, 16, lengths=lengths).run()
    assert grids[0] == grids[1] == (3, 2, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operator_is_registered_as_pytorch_asks(dtype: torch.dtype) -> None:
    one = call(2, 2, 1, 20, 16, lengths=[20, 20], prefixes=(7,), dtype=dtype, window=12)
    (prefix,) = one.options["prefixes"]
    lists = ([prefix.keys], [prefix.values], [prefix.lengths], [prefix.places])
    torch.library.opcheck(
        torch.ops.gptapps.decode_attention.default,
        (one.q, one.keys, one.values, one.lengths, *lists, None, 0.25, 12, None),
    )


def test_derivatives_of_the_reference() -> None:
    one = call(2, 2, 1, 6, 3, lengths=[6, 2], prefixes=(4,), behind=[True, False], dtype=torch.float64)
    (prefix,) = one.options["prefixes"]

    def attend(q: Tensor, keys: Tensor, values: Tensor, sinks: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        parts = [replace(prefix, keys=shared, values=shared)]
        return decode_attention(
            q, keys, values, one.lengths, scale=0.5, prefixes=parts, sinks=sinks, soft_cap=3.0, impl="reference"
        )

    inputs = (one.q, one.keys.nan_to_num(), one.values.nan_to_num(), normal(2, dtype=torch.float64), prefix.keys)
    assert torch.autograd.gradcheck(attend, [x.clone().requires_grad_() for x in inputs])


def test_strides_past_what_32_bits_hold() -> None:
    """In a process of its own, which a wrong address would end; what isn't touched takes no memory."""
    program = """
import torch
from gptapps.kernels import decode_attention
apart = 2**30
for strides in ((apart, 64, 16, 1), (64, apart, 16, 1), (16, 16, apart, 1)):
    sizes = [3 if stride == apart else 1 for stride in strides[:3]] + [16]
    keys = torch.empty(2 * apart + 64, dtype=torch.float16).as_strided(sizes, strides)
    keys.copy_(torch.randn(sizes))
    q, lengths = torch.randn(sizes[0], sizes[1], 16).half(), torch.full((sizes[0],), sizes[2])
    near, far = (decode_attention(q, x, x, lengths, scale=1.0, impl="triton")[0] for x in (keys.contiguous(), keys))
    assert torch.equal(near, far), strides
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_door_leads_here() -> None:
    assert kernels.decode_attention is decode_attention


def test_heads_too_large_for_the_kernels() -> None:
    q, cache = torch.ones(1, 2, 257), torch.ones(1, 1, 3, 257)
    call = Call(q, cache, cache, torch.tensor([2]), {})
    with pytest.raises(KernelUnavailableError, match="at most 256 channels, not 257"):
        call.run()
    torch.testing.assert_close(call.run("auto")[0], q)
