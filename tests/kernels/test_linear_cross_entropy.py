"""Cross-entropy from hidden states against PyTorch's, and its gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gptapps import kernels


def drawn(tokens: int = 7, channels: int = 5, vocabulary: int = 11) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    targets[1::3] = -100
    return draw(tokens, channels), draw(vocabulary, channels), draw(vocabulary), targets


@given(
    chunk=st.sampled_from([None, 1, 2, 7, 100]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    cap=st.sampled_from([None, 1.5]),
    biased=st.booleans(),
    weighted=st.booleans(),
)
def test_loss_and_gradients_are_those_of_pytorch(
    chunk: int | None, smoothing: float, cap: float | None, biased: bool, weighted: bool
) -> None:
    hidden, weight, bias, targets = drawn()
    weights = torch.linspace(0, 2, len(targets), dtype=torch.float64) if weighted else None
    inputs = (hidden, weight, bias) if biased else (hidden, weight)
    logits = torch.nn.functional.linear(hidden, weight, bias if biased else None)
    capped = logits if cap is None else cap * torch.tanh(logits / cap)
    each = torch.nn.functional.cross_entropy(capped, targets, label_smoothing=smoothing, reduction="none")
    expected = (each if weights is None else each * weights).sum()
    loss = kernels.linear_cross_entropy(
        hidden,
        weight,
        targets,
        bias=bias if biased else None,
        weights=weights,
        logit_cap=cap,
        label_smoothing=smoothing,
        chunk=chunk,
    )
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(3 * loss, inputs), torch.autograd.grad(3 * expected, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("cap", [None, 2.0])
def test_gradients_are_those_of_finite_differences(cap: float | None) -> None:
    hidden, weight, bias, targets = drawn(4, 3, 5)
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0], dtype=torch.float64)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return kernels.linear_cross_entropy(
            hidden,
            weight,
            targets,
            bias=bias,
            weights=weights,
            logit_cap=cap,
            label_smoothing=0.1,
            z_loss=0.01,
            chunk=3,
        )

    assert torch.autograd.gradcheck(loss, (hidden, weight, bias))


def test_all_logits_are_never_held_at_once() -> None:
    tokens, vocabulary = 256, 2048
    hidden = torch.randn(tokens, 4, requires_grad=True)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), named=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = function(*arguments, **(named or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        targets = torch.zeros(tokens, dtype=torch.int64)
        kernels.linear_cross_entropy(hidden, torch.randn(vocabulary, 4), targets, chunk=16).backward()
    assert largest == 16 * vocabulary


def test_no_target_is_no_loss() -> None:
    hidden = torch.randn(3, 4, requires_grad=True)
    loss = kernels.linear_cross_entropy(hidden, torch.randn(5, 4), torch.full((3,), -100))
    loss.backward()
    assert not loss.detach()
    assert hidden.grad is not None
    assert not hidden.grad.any()
