"""The weights that pre-training begins with.

Symbols: L layers, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptapps.backbone.config import GPTConfig, Wiring
from gptapps.backbone.gpt import GPTBackbone
from gptapps.heads.language_model import LanguageModelHead

_DEVIATION = 0.02
_INTO_THE_RESIDUAL = ("attention.output.weight", "feed_forward.down.weight")


def new_model(config: GPTConfig, seed: int) -> tuple[GPTBackbone, LanguageModelHead]:
    """Return a backbone and its tied vocabulary head with drawn weights, on the CPU.

    Matrices are drawn from a normal distribution with deviation 0.02; of a GPT-2 or GPT-3 those that add to the
    residual stream from one divided by the root of its 2 L additions, so that it doesn't grow with the depth. Where the
    checkpoint's layout has no scale of the attention's scores (GPT-Neo), the queries begin smaller by the root of D.

    Source: Radford et al. 2018 (GPT-1), section 4.1; Radford et al. 2019 (GPT-2), section 2.3.
    """
    with torch.device("meta"):
        backbone = GPTBackbone(config)
        head = LanguageModelHead(backbone)
    backbone.to_empty(device="cpu")
    head.projection.weight = backbone.token_embedding.weight
    numbers = torch.Generator().manual_seed(seed)
    queries = config.attention.heads * config.attention.head_size
    for name, parameter in backbone.named_parameters():
        values = parameter.data
        if values.dim() == 1:
            values.fill_(1.0 if name.endswith("weight") else 0.0)
            continue
        adds = config.wiring is Wiring.PRE_NORM and name.endswith(_INTO_THE_RESIDUAL)
        values.normal_(0.0, _DEVIATION / (2 * config.layers) ** 0.5 if adds else _DEVIATION, generator=numbers)
        if config.attention.scale == 1.0 and name.endswith("attention.qkv.weight"):
            values[:queries] *= config.attention.head_size**-0.5
    return backbone, head


def new_mask(config: GPTConfig, seed: int) -> Tensor:
    """Return the embedding (C,) that a mask begins with."""
    return torch.empty(config.channels).normal_(0.0, _DEVIATION, generator=torch.Generator().manual_seed(seed + 1))
