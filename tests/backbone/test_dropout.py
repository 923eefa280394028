"""Dropout installed for training leaves out a share of what is added to the residual."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from tiny_models import TinyModel, random_tokens

from gptapps.training.dropout import install_dropout


@pytest.mark.parametrize("name", ["mistral", "gptj", "gemma3"])
def test_a_share_is_left_out_and_the_rest_scaled_up(name: str, tiny: Callable[[str], TinyModel]) -> None:
    backbone = copy.deepcopy(tiny(name).backbone)
    ending = "_output_norm" if name == "gemma3" else ""
    layer = backbone.blocks[0].get_submodule(f"feed_forward{ending}")
    x = torch.randn(1, 4000, backbone.config.channels, generator=torch.Generator().manual_seed(0))
    plain = layer(x)
    install_dropout(backbone, 0.25)
    assert torch.equal(layer.eval()(x), plain)
    torch.manual_seed(0)
    dropped = layer.train()(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(dropped[dropped != 0], (plain / 0.75)[dropped != 0])


@pytest.mark.parametrize("name", ["gpt1", "mistral", "gptj", "gemma3"])
def test_a_backbone_that_trains_drops_and_one_that_predicts_does_not(
    name: str, tiny: Callable[[str], TinyModel]
) -> None:
    backbone = copy.deepcopy(tiny(name).backbone).eval()
    tokens = random_tokens(1, 6)
    plain = backbone(tokens)
    install_dropout(backbone, 0.25)
    assert torch.equal(backbone(tokens), plain)
    torch.manual_seed(0)
    first = backbone.train()(tokens)
    torch.manual_seed(0)
    assert torch.equal(backbone(tokens), first)
    assert not torch.equal(first, plain)


def test_no_share_installs_nothing(tiny: Callable[[str], TinyModel]) -> None:
    backbone = copy.deepcopy(tiny("mistral").backbone)
    install_dropout(backbone, 0.0)
    tokens = random_tokens(1, 6)
    assert torch.equal(backbone.train()(tokens), backbone.eval()(tokens))
