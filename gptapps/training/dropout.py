"""Dropout in a backbone that has none: a share of what attention and feed-forward layers add is left out in training.

Source: Radford et al. 2018 (GPT), section 4.1, residual dropout.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from gptapps.backbone.gpt import GPTBackbone


def install_dropout(backbone: GPTBackbone, share: float) -> None:
    """Leave out a share of what every layer adds to the residual, while the backbone trains; the rest is scaled up.

    Args:
        backbone: gets hooks; its weights and its predictions stay as they are.
        share: 0 installs nothing.
    """
    if not share:
        return
    for block in backbone.blocks:
        for name in ("attention", "feed_forward"):
            added = getattr(block, f"{name}_output_norm", None) or block.get_submodule(name)
            added.register_forward_hook(partial(_drop, share))


def _drop(share: float, module: nn.Module, _: Any, output: Tensor) -> Tensor:
    return nn.functional.dropout(output, share, module.training)
