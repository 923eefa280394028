"""What decays, and how the learning rate rises and falls."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptapps.training.optimizer import learning_rate_factor, make_optimizer


def test_matrices_decay_and_nothing_else() -> None:
    layer = nn.Linear(3, 2)
    frozen = nn.Linear(2, 2).requires_grad_(False)
    before = {name: one.detach().clone() for name, one in layer.named_parameters()}
    named = [*layer.named_parameters(), *frozen.named_parameters()]
    optimizer = make_optimizer(named, learning_rate=0.1, weight_decay=0.5)
    for one in layer.parameters():
        one.grad = torch.zeros_like(one)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias.detach(), before["bias"])
    assert len({one for group in optimizer.param_groups for one in group["params"]}) == 2


@pytest.mark.parametrize(("decline", "middle"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)])
def test_the_rate_rises_then_falls(decline: str, middle: float) -> None:
    factors = [learning_rate_factor(n, updates=110, warmup=10 / 110, decline=decline) for n in range(110)]  # type: ignore[arg-type]
    assert factors[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert factors[60] == pytest.approx(middle)
    assert factors[10:] == sorted(factors[10:], reverse=True)
