"""The loss from hidden states on the kernel against float64, with its gradients."""

from __future__ import annotations

import importlib
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import DEVICE, DTYPES, TOLERANCES, agree, agree_with_gradients, drawn, same_bits
from torch import Tensor

from gptapps import kernels
from gptapps.kernels.dispatch import Impl

pytest.importorskip("triton")
gpu = importlib.import_module("gptapps.kernels.gpu.linear_cross_entropy")
# The interpreter's exp is numpy's, which warns where a GPU's is inf.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")


def drawn_targets(tokens: int, vocabulary: int) -> Tensor:
    targets = torch.randint(vocabulary, (tokens,), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    targets[1::3] = -100
    return targets


@given(
    tokens=st.integers(0, 9),
    vocabulary=st.sampled_from([2, 11, 64, 5000]),
    dtype=st.sampled_from(DTYPES),
    cap=st.sampled_from([None, 1.5]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    z_loss=st.sampled_from([0.0, 0.1]),
    biased=st.booleans(),
    weighted=st.booleans(),
    chunk=st.sampled_from([None, 1, 4]),
)
def test_loss_and_gradients(
    tokens: int,
    vocabulary: int,
    dtype: torch.dtype,
    cap: float | None,
    smoothing: float,
    z_loss: float,
    biased: bool,
    weighted: bool,
    chunk: int | None,
) -> None:
    loss = partial(
        kernels.linear_cross_entropy,
        targets=drawn_targets(tokens, vocabulary),
        weights=torch.linspace(0, 1, tokens, device=DEVICE) if weighted else None,
        logit_cap=cap,
        label_smoothing=smoothing,
        z_loss=z_loss,
        chunk=chunk,
    )
    shapes = [(tokens, 8), (vocabulary, 8), *([(vocabulary,)] if biased else [])]
    agree_with_gradients(
        lambda hidden, weight, bias=None: loss(hidden / 2, weight, bias=bias, impl="triton"),
        lambda hidden, weight, bias=None: loss(hidden / 2, weight, bias=bias, impl="reference"),
        [drawn(*shape, seed=i, dtype=dtype, learns=True) for i, shape in enumerate(shapes)],
        TOLERANCES[dtype],  # the loss is float32, the logits aren't
    )


def test_logits_far_apart_and_logits_of_minus_infinity() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-torch.inf, 3.0, -torch.inf], [88.0, 89.0, 90.0]], device=DEVICE)
    targets = torch.tensor([1, 1, 0], device=DEVICE)
    wide = logits.double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(wide, targets, reduction="none")
    held = logits.clone()
    losses = gpu.losses_of_logits(held, targets, None, gpu.Terms(None, 0.0, 0.0), True)
    agree(losses, expected)
    agree(held, torch.autograd.grad(expected.sum(), wide)[0])


def test_logits_stay_where_no_gradient_is_wanted() -> None:
    logits = drawn(2, 9)
    held = logits.clone()
    gpu.losses_of_logits(held, torch.tensor([0, 8], device=DEVICE), None, gpu.Terms(None, 0.1, 0.1), False)
    assert torch.equal(held, logits)


@pytest.mark.parametrize("target", [-1, 9])
def test_a_target_outside_the_vocabulary_is_no_loss_to_be_taken_for_one(target: int) -> None:
    targets = torch.tensor([target, 1], device=DEVICE)
    losses = gpu.losses_of_logits(drawn(2, 9), targets, None, gpu.Terms(None, 0.0, 0.0), False)
    assert losses.isnan().tolist() == [True, False]


@pytest.mark.parametrize("chunk", [None, 2])
def test_inputs_whose_numbers_lie_apart(chunk: int | None) -> None:
    targets = torch.stack((drawn_targets(7, 11), torch.zeros_like(drawn_targets(7, 11))), 1)[:, 0]
    weights = torch.stack((drawn(7, seed=4).abs(), drawn(7, seed=5)), 1)[:, 0]
    assert not targets.is_contiguous()

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor, impl: Impl) -> Tensor:
        return kernels.linear_cross_entropy(
            hidden.T, weight[:, ::2], targets, bias=bias[:, 1], weights=weights, chunk=chunk, impl=impl
        )

    agree_with_gradients(
        partial(loss, impl="triton"),
        partial(loss, impl="reference"),
        [drawn(*shape, seed=i, learns=True) for i, shape in enumerate(((8, 7), (11, 16), (11, 2)))],
    )


def test_one_target_and_one_weight_for_all_tokens() -> None:
    hidden, weight = drawn(1, 8, learns=True), drawn(11, 8, seed=1, learns=True)
    target, share = torch.tensor([3], device=DEVICE), torch.tensor([0.5], device=DEVICE)

    def loss(hidden: Tensor, weight: Tensor, impl: Impl) -> Tensor:
        return kernels.linear_cross_entropy(
            hidden.expand(5, 8), weight, target.expand(5), weights=share.expand(5), impl=impl
        )

    agree_with_gradients(partial(loss, impl="triton"), partial(loss, impl="reference"), [hidden, weight])


def test_of_many_tokens_all_logits_are_never_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_FEWEST_TOKENS", 16)  # the interpreter takes its time over 4,096 tokens
    tokens, vocabulary = 128, 48
    operation = importlib.import_module("gptapps.kernels.linear_cross_entropy")
    held: set[int] = set()  # bytes: the interpreter reads memory as such

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), named=None):  # type: ignore[no-untyped-def]
            if function is torch.ops.gptapps.linear_cross_entropy.default:
                with self:  # PyTorch doesn't look into an operation of our own
                    return operation._compute(*arguments)
            out = function(*arguments, **(named or {}))
            held.update(x.nbytes for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, Tensor))
            return out

    hidden, weight = drawn(tokens, 4, learns=True), drawn(vocabulary, 4, seed=1, learns=True)
    targets = torch.zeros(tokens, dtype=torch.int64, device=DEVICE)
    with Watch():
        kernels.linear_cross_entropy(hidden, weight, targets, impl="triton").backward()
    assert max(held) == 16 * vocabulary * weight.itemsize


def test_only_what_learns_gets_a_gradient() -> None:
    hidden, weight = drawn(5, 8), drawn(11, 8, seed=1, learns=True)
    loss = kernels.linear_cross_entropy(hidden, weight, drawn_targets(5, 11), impl="triton")
    loss.backward()
    assert hidden.grad is None
    assert weight.grad is not None
    with torch.no_grad():
        assert not kernels.linear_cross_entropy(hidden, weight, drawn_targets(5, 11), impl="triton").requires_grad


def test_gradients_of_many_pieces_add_up_in_float32() -> None:
    hidden, weight = drawn(64, 4, dtype=torch.bfloat16).abs(), drawn(2, 4, seed=1, dtype=torch.bfloat16, learns=True)
    targets = torch.zeros(64, dtype=torch.int64, device=DEVICE)
    pieces, whole = (
        torch.autograd.grad(kernels.linear_cross_entropy(hidden, weight, targets, chunk=c, impl="triton"), weight)[0]
        for c in (1, 64)
    )
    agree(pieces, whole, 4e-3)  # one rounding to bfloat16 each, where 64 would drift by more


@pytest.mark.parametrize(
    ("tokens", "vocabulary", "expected"),
    [(32768, 131072, 4096), (32768, 49152, 4096), (4096, 32000, 1024), (10, 131072, 1024), (4096, 1 << 30, 1)],
)
def test_tokens_at_once(tokens: int, vocabulary: int, expected: int) -> None:
    assert gpu.tokens_at_once(tokens, vocabulary) == expected


def test_same_bits_twice() -> None:
    hidden, weight, targets = drawn(9, 8, learns=True), drawn(70, 8, seed=1, learns=True), drawn_targets(9, 70)

    def gradients() -> tuple[Tensor, ...]:
        loss = kernels.linear_cross_entropy(hidden, weight, targets, chunk=2, impl="triton")
        return (loss, *torch.autograd.grad(loss, (hidden, weight)))

    assert same_bits(gradients)


def test_the_operation_is_registered_as_pytorch_asks() -> None:
    hidden, weight, bias = drawn(4, 6, learns=True), drawn(7, 6, seed=1, learns=True), drawn(7, seed=2)
    settings = (drawn_targets(4, 7), None, 2.0, 0.1, 0.01, -100, 3, [True, True, False])
    operation = torch.ops.gptapps.linear_cross_entropy.default
    torch.library.opcheck(operation, (hidden, weight, bias, *settings))
    turned = drawn(6, 4, learns=True).T  # gradients come contiguous, whatever the inputs are
    torch.library.opcheck(operation, (turned, weight, bias, *settings), test_utils="test_faketensor")


def test_the_reference_of_the_operation_in_float64() -> None:
    shapes = ((4, 3), (5, 3), (5,))
    inputs = [drawn(*shape, seed=i, dtype=torch.float64, learns=True) for i, shape in enumerate(shapes)]
    targets = drawn_targets(4, 5)

    def operation(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        settings = (None, 2.0, 0.1, 0.01, -100, 3, [True, True, True])
        loss: Tensor = torch.ops.gptapps.linear_cross_entropy(hidden, weight, bias, targets, *settings)[0]
        return loss

    hidden, weight, bias = inputs
    plain = kernels.linear_cross_entropy(
        hidden, weight, targets, bias=bias, logit_cap=2.0, label_smoothing=0.1, z_loss=0.01
    )
    agree(operation(*inputs), plain)
    assert torch.autograd.gradcheck(operation, inputs)
