"""Kernels beside plain PyTorch in float64, on the card that will time them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.gpu.card import Card, Draw
from benchmarks.speed.gpu.launches import counted
from benchmarks.speed.gpu.measured import Checked
from benchmarks.speed.gpu.work import Function, Inputs, Operation, Setting

TOLERANCES = {torch.float32: 5e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}
"""The largest error of a row: a few roundings in the type. TF32 in place of float32 would be 3e-4 and more."""
_SMALL = 0.25
"""A row shorter than this part of the root-mean-square row is judged as if it had that length: it is what sums of
larger numbers left over, and so is its rounding."""


def checks(operation: Operation, *, dry_run: bool) -> list[tuple[Setting, torch.dtype]]:
    """Return what is checked of an operation.

    Each setting is checked in the type that is timed, and in turn in one of the other two: compiling for all three
    would take too long. A dry run is content with float32, the interpreter's own type.
    """
    settings = operation.settings(dry_run)
    if dry_run:
        return [(setting, torch.float32) for setting in settings]
    others = (torch.float32, torch.float16)
    return [
        (setting, dtype)
        for place, setting in enumerate(settings)
        for dtype in (torch.bfloat16, others[place % len(others)])
    ]


def check(card: Card, operation: str, setting: Setting, dtype: torch.dtype) -> Checked:
    """Compare outputs and gradients with those of plain PyTorch in float64, and with themselves a second time."""
    tolerance = TOLERANCES[dtype] * setting.slack
    error, problem = None, None
    try:
        inputs = setting.make(Draw(card, dtype))
        before = tuple(tensor.clone() for tensor in inputs)
        with _poisoned_memory(), counted() as launches:
            got = outcomes(setting.ours, inputs, setting.learned)
        again = outcomes(setting.ours, inputs, setting.learned)
        truth = outcomes(setting.plain, tuple(map(_widened, before)), setting.learned, dtype)
        card.synchronize()
        error = largest_error(got, truth)
        if not all(_same_bits(*pair) for pair in zip(inputs, before, strict=True)):
            problem = "an input was written to"
        elif not error <= tolerance:
            problem = f"a row differs by {error:.2g}, where rounding explains {tolerance:.2g}"
        elif not all(_same_bits(*pair) for pair in zip(got, again, strict=True)):
            problem = "a second run gave other bits"
        elif not launches.count and inputs[0].numel():
            problem = "no Triton kernel was launched"
    except Exception as failure:  # whatever a kernel dies of, the other kernels are still worth checking
        problem = reason(failure)
    return Checked(operation, setting.name, str(dtype).removeprefix("torch."), error, tolerance, problem)


def outcomes(
    function: Function, inputs: Inputs, learned: Sequence[int], rounded: torch.dtype | None = None
) -> list[Tensor]:
    """Return a function's outputs and, behind them, the gradients of its ``learned`` inputs.

    Args:
        function: of ``inputs``.
        inputs: stay as they are.
        learned: places among them.
        rounded: the gradients that arrive at the outputs are rounded to it first; None for the outputs' own type.
    """
    leaves = tuple(tensor.detach().requires_grad_(place in learned) for place, tensor in enumerate(inputs))
    with torch.set_grad_enabled(bool(learned)):
        outputs = as_tensors(function(*leaves))
    if not learned:
        return outputs
    gradients = torch.autograd.grad(*backward_arguments(outputs, leaves, rounded))
    return [*(output.detach() for output in outputs), *gradients]


def backward_arguments(
    outputs: Sequence[Tensor], leaves: Sequence[Tensor], rounded: torch.dtype | None = None
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return outputs, learned inputs and the random gradients that arrive at the outputs, for ``autograd.grad``."""
    reached = [output for output in outputs if output.requires_grad]
    generator = torch.Generator(reached[0].device).manual_seed(1)
    arriving = [
        torch.randn(output.shape, generator=generator, device=output.device).to(rounded or output.dtype)
        for output in reached
    ]
    arriving = [gradient.to(output.dtype) for gradient, output in zip(arriving, reached, strict=True)]
    return reached, [leaf for leaf in leaves if leaf.requires_grad], arriving


def as_tensors(returned: Any) -> list[Tensor]:
    """Return what a function gave as a list."""
    return [returned] if isinstance(returned, Tensor) else [tensor for tensor in returned if tensor is not None]


def largest_error(got: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Return by how much a row, along the last axis, differs at most, as a part of its length; inf for NaN.

    Of whole numbers, such as chosen tokens, none may differ.
    """
    return max((_error(*pair) for pair in zip(got, truth, strict=True)), default=0.0)


def reason(failure: BaseException) -> str:
    """Return the first line of what an exception says, as a table can show it."""
    said = (str(failure).strip().splitlines() or [""])[0]
    return f"{type(failure).__name__}: {said}"[:200]


def _error(got: Tensor, truth: Tensor) -> float:
    if got.shape != truth.shape:
        return float("inf")
    if not got.numel():
        return 0.0
    if not truth.is_floating_point():
        return float((got != truth).any())
    wide, expected = (tensor.double().reshape(-1, tensor.shape[-1] if tensor.dim() else 1) for tensor in (got, truth))
    infinite = expected.isinf()
    if not torch.equal(wide[infinite], expected[infinite]):
        return float("inf")
    wide, expected = wide.masked_fill(infinite, 0), expected.masked_fill(infinite, 0)
    lengths = expected.norm(dim=1)
    least = _SMALL * lengths.square().mean().sqrt()
    differences = (wide - expected).norm(dim=1)
    error = float((differences / lengths.clamp_min(least).clamp_min(torch.finfo(torch.float32).tiny)).max())
    return error if error == error else float("inf")


def _same_bits(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.nan_to_num(), second.nan_to_num()) if first.is_floating_point() else first.equal(second)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


@contextmanager
def _poisoned_memory() -> Iterator[None]:
    """Let ``torch.empty`` return NaN, so that what a kernel forgets to write shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
