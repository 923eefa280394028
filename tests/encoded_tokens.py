"""How many tokens go through a model while a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from gptapps.backbone.gpt import GPTBackbone


@contextmanager
def counted_tokens() -> Iterator[list[int]]:
    """Collect the number of tokens of each pass through any backbone, padding not counted."""
    read: list[int] = []
    forward, branched = GPTBackbone.forward, GPTBackbone.read_branched

    def counted_forward(self: GPTBackbone, tokens: torch.Tensor, **options: Any) -> torch.Tensor:
        read.append(sum(options.get("lengths") or [tokens.numel()]))
        return forward(self, tokens, **options)

    def counted_branched(self: GPTBackbone, tokens: torch.Tensor, *given: Any, **options: Any) -> torch.Tensor:
        read.append(len(tokens))
        return branched(self, tokens, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GPTBackbone, "forward", counted_forward)
        patch.setattr(GPTBackbone, "read_branched", counted_branched)
        yield read
