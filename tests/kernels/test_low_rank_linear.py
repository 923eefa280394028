"""The linear layer with low-rank updates against what it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptapps import kernels


def drawn(rows: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (rows, 4), "weight": (9, 4), "bias": (9,), "down": (4, 4), "first": (3, 2), "last": (5, 2)}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("narrowed", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_output_and_gradients(rows: int, narrowed: bool) -> None:
    given = drawn(rows)
    x, weight, bias, down = (given[name] for name in ("x", "weight", "bias", "down"))
    ups = [given["first"], given["last"]]
    seen = x * 2 if narrowed else x
    out = kernels.low_rank_linear(
        x, weight.detach(), bias.detach(), down, ups, (0, 4), 0.5, narrowed=seen if narrowed else None
    )
    low = seen @ down.T
    expected = x @ weight.detach().T + bias.detach()
    expected[:, 0:3] += 0.5 * low[:, :2] @ ups[0].T
    expected[:, 4:9] += 0.5 * low[:, 2:] @ ups[1].T
    torch.testing.assert_close(out, expected)
    learned = (x, down, *ups)
    slope = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(out, learned, slope, retain_graph=True),
        torch.autograd.grad(expected, learned, slope),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_finite_differences() -> None:
    given = drawn()
    weight = given["weight"].detach()

    def layer(x: Tensor, down: Tensor, first: Tensor, last: Tensor) -> Tensor:
        return kernels.low_rank_linear(x, weight, None, down, [first, last], (0, 4), 0.5)

    assert torch.autograd.gradcheck(layer, (given["x"], given["down"], given["first"], given["last"]))
