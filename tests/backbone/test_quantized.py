"""Blocks in 8 and 4 bits against the matrices that their integers stand for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from tiny_models import TinyModel, random_tokens

from gptapps import kernels
from gptapps.backbone.linear import Linear
from gptapps.backbone.quantized import QuantizedLinear, quantize_blocks


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize(
    ("bits", "group", "similarity"), [(8, None, 0.999), (8, 32, 0.999), (4, None, 0.9), (4, 32, 0.9)]
)
def test_hidden_states_are_those_of_the_rounded_matrices(
    name: str, bits: Literal[4, 8], group: int | None, similarity: float, tiny: Callable[[str], TinyModel]
) -> None:
    backbone = tiny(name).backbone
    rounded, quantized = copy.deepcopy(backbone), copy.deepcopy(backbone)
    for layer in rounded.blocks.modules():
        if isinstance(layer, Linear):
            weight = kernels.quantize_weight(layer.weight, bits=bits, group=group)
            layer.weight.copy_(kernels.dequantize_weight(weight))
    quantize_blocks(quantized, bits=bits, group=group)
    tokens = random_tokens(2, 9)
    states = quantized(tokens)
    torch.testing.assert_close(states, rounded(tokens), atol=1e-4, rtol=1e-4)
    whole = backbone(tokens)
    assert torch.cosine_similarity(states, whole, dim=-1).mean() > similarity
    held = [layer for layer in quantized.blocks.modules() if isinstance(layer, QuantizedLinear)]
    assert len(held) == sum(isinstance(layer, Linear) for layer in backbone.blocks.modules())
