"""Small vectors whose numbers don't lie side by side in memory, against copies of them that do, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from kernel_checks import DEVICE, drawn
from torch import Tensor

from gptapps import kernels
from gptapps.kernels import SharedPrefix, Visibility

pytest.importorskip("triton")

# What lies behind the first number would give another result, too.
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "a column": lambda x: torch.stack((x, x + 1), 1)[:, 0],
    "one for all": lambda x: x[:1].expand(len(x)),
}
by_view = pytest.mark.parametrize("view", VIEWS)


def integers(*numbers: int) -> Tensor:
    return torch.tensor(numbers, device=DEVICE)


def check(run: Callable[..., Sequence[Tensor]], vectors: Mapping[str, Tensor], name: str, view: str) -> None:
    """Compare what ``run`` returns for a view of the vector ``name`` and for a contiguous copy of the view."""
    viewed = VIEWS[view](vectors[name])
    assert not viewed.is_contiguous()
    ours, expected = (run(**{**vectors, name: x}) for x in (viewed, viewed.contiguous()))
    assert all(torch.equal(x, y) for x, y in zip(ours, expected, strict=True))


@by_view
@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "min_p", "seeds", "steps"])
def test_rules_of_sampling(name: str, view: str) -> None:
    logits = 3 * drawn(6, 60)
    rules = {
        "temperature": torch.tensor([3.0, 0.0, 4.0, 0.5, 2.5, 0.0], device=DEVICE),
        "top_k": integers(1, 0, 5, 2, 0, 30),
        "top_p": torch.tensor([0.01, 1.0, 0.9, 0.3, 1.0, 0.7], device=DEVICE),
        "min_p": torch.tensor([1.0, 0.0, 0.2, 0.01, 0.0, 0.1], device=DEVICE),
        "seeds": integers(5, 80, 900, 1, 70, 3),
        "steps": integers(9, 0, 70, 3, 2, 500),
    }
    if name != "temperature":
        rules["temperature"] = torch.full_like(rules["temperature"], 3.0)
    for other in ("top_k", "top_p", "min_p"):
        if name != other:
            rules[other] = torch.full_like(rules[other], 1 if other == "top_p" else 0)
    check(lambda **rules: kernels.sample(logits, **rules, impl="triton"), rules, name, view)


@by_view
@pytest.mark.parametrize("name", ["lengths", "sinks", "prefix_lengths", "places"])
def test_lengths_and_sinks_of_decode_attention(name: str, view: str) -> None:
    q, keys, values = drawn(3, 2, 16), drawn(3, 1, 40, 16, seed=1), drawn(3, 1, 40, 16, seed=2)
    prefix = (drawn(1, 30, 16, seed=3), drawn(1, 30, 16, seed=4))
    vectors = {
        "lengths": integers(7, 39, 20),
        "sinks": 3 * drawn(2, seed=5),
        "prefix_lengths": integers(12, 30, 3),
        "places": integers(14, 45, 25),
    }

    def run(lengths: Tensor, sinks: Tensor, prefix_lengths: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        prefixes = [SharedPrefix(*prefix, prefix_lengths, places)]
        return kernels.decode_attention(
            q, keys, values, lengths, scale=0.25, prefixes=prefixes, window=18, sinks=sinks, impl="triton"
        )

    check(run, vectors, name, view)


@by_view
@pytest.mark.parametrize("name", ["key_lengths", "prefix_lengths", "offsets", "sinks"])
def test_lengths_and_sinks_of_attention(name: str, view: str) -> None:
    inputs = [drawn(3, heads, 20, 16, seed=heads + i) for i, heads in enumerate((2, 1, 1))]
    vectors = {
        "key_lengths": integers(9, 20, 14),
        "prefix_lengths": integers(8, 0, 5),
        "offsets": integers(0, 3, 1),
        "sinks": 3 * drawn(2, seed=5),
    }

    def run(sinks: Tensor, **lengths: Tensor) -> list[Tensor]:
        q, k, v, sinks = learned = [x.detach().requires_grad_() for x in (*inputs, sinks)]
        visible = Visibility(causal=True, **lengths)
        out = kernels.attention(q, k, v, scale=0.3, visible=visible, sinks=sinks, impl="triton")
        return [out.detach(), *torch.autograd.grad(out.square().sum(), learned)]

    check(run, vectors, name, view)


@pytest.mark.parametrize("name", ["query_bounds", "key_bounds"])
def test_bounds_of_packed_texts(name: str) -> None:
    inputs = [drawn(1, heads, 30, 16, seed=heads + i) for i, heads in enumerate((2, 1, 1))]
    vectors = {"query_bounds": integers(0, 12, 30).int(), "key_bounds": integers(0, 9, 30).int()}

    def run(**bounds: Tensor) -> list[Tensor]:
        q, k, v = learned = [x.detach().requires_grad_() for x in inputs]
        visible = Visibility(causal=True, longest=18, longest_keys=21, **bounds)
        out = kernels.attention(q, k, v, scale=0.3, visible=visible, impl="triton")
        return [out.detach(), *torch.autograd.grad(out.square().sum(), learned)]

    check(run, vectors, name, "a column")


@by_view
@pytest.mark.parametrize("channels", [64, 1100])  # one split of the channels, and several
def test_the_bias_of_a_quantized_layer(channels: int, view: str) -> None:
    x, weight = drawn(2, channels), kernels.quantize_weight(drawn(9, channels, seed=1), bits=8)
    check(
        lambda bias: [kernels.quantized_linear(x, weight, bias, impl="triton")],
        {"bias": drawn(9, seed=2)},
        "bias",
        view,
    )
