"""Low-rank updates that are learned while the matrices they belong to stay as they are.

Symbols: C inputs, F outputs of a matrix, R rank, P parts of a fused matrix.

Source: Hu et al. 2021 (LoRA).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gptapps import kernels
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.low_rank import LowRankAdapter, LowRankUpdate, Slot, by_matrix, low_rank_slots, merge_low_rank
from gptapps.errors import OptionError
from gptapps.registry import suggestion

ALL, ATTENTION, FEED_FORWARD = "all", "attention", "feed_forward"
TARGETS = (ALL, ATTENTION, FEED_FORWARD)
"""Which matrices of each block are adapted; or else names as the checkpoint has them, such as ``q_proj``."""


class LowRankLinear(nn.Module):
    """A linear layer that stays as it is, and the updates of its parts that are learned.

    Args:
        base: the layer.
        slots: the parts of its matrix that get an update.
        rank: R.
        alpha: the updates are multiplied by ``alpha / rank``.
        dropout: share of the inputs that the updates don't see while training.
        generator: draws the starting values.
    """

    def __init__(
        self,
        base: nn.Linear,
        slots: Sequence[Slot],
        *,
        rank: int,
        alpha: float,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.slots = tuple(slots)
        self.starts = tuple(slot.start for slot in slots)
        self.scale = alpha / rank
        self.dropout = dropout
        device = base.weight.device
        bound = 1 / math.sqrt(base.in_features)  # as peft does; up starts at zero, so that nothing changes at first
        down = torch.empty(len(slots) * rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(down.to(device))
        self.ups = nn.ParameterList(nn.Parameter(torch.zeros(slot.rows, rank, device=device)) for slot in slots)

    @property
    def weight(self) -> Tensor:
        """The base layer's matrix (F, C)."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., F) for (..., C)."""
        dropped = self.training and self.dropout > 0
        return kernels.low_rank_linear(
            x,
            self.base.weight,
            self.base.bias,
            self.down,
            list(self.ups),
            self.starts,
            self.scale,
            narrowed=nn.functional.dropout(x, self.dropout) if dropped else None,
        )

    def updates(self) -> Iterator[tuple[Slot, LowRankUpdate]]:
        """Yield what was learned for each part, in memory of its own."""
        for slot, down, up in zip(self.slots, self.down.detach().chunk(len(self.slots)), self.ups, strict=True):
            yield slot, LowRankUpdate(down.clone(), up.detach().clone(), self.scale)


def install_low_rank(
    backbone: GPTBackbone,
    *,
    targets: Sequence[str] = (ALL,),
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    seed: int = 0,
    blocks: int | None = None,
) -> None:
    """Freeze a backbone and put learnable updates beside some of its matrices.

    Args:
        backbone: is changed.
        targets: of :data:`TARGETS`, or names of layers as the checkpoint has them, such as ``"q_proj"``.
        rank: of each update.
        alpha: the updates are multiplied by ``alpha / rank``.
        dropout: share of the inputs that the updates don't see while training.
        seed: of the starting values.
        blocks: how many get updates, from the first one on; None for all.

    Raises:
        OptionError: a target that the model doesn't have.
    """
    backbone.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    slots = chosen_slots(low_rank_slots(backbone.config), targets)
    adapted = tuple(slot for slot in slots if blocks is None or slot.block < blocks)
    for name, parts in by_matrix(adapted).items():
        parent, _, attribute = name.removesuffix(".weight").rpartition(".")
        layer = backbone.get_submodule(f"{parent}.{attribute}")
        if not isinstance(layer, nn.Linear):
            raise TypeError(f"{parent}.{attribute} has updates already")
        learning = LowRankLinear(layer, parts, rank=rank, alpha=alpha, dropout=dropout, generator=generator)
        setattr(backbone.get_submodule(parent), attribute, learning)


def learned_adapter(backbone: GPTBackbone) -> LowRankAdapter:
    """Return the updates that a backbone has learned."""
    layers = (module for module in backbone.modules() if isinstance(module, LowRankLinear))
    return LowRankAdapter(tuple(update for layer in layers for update in layer.updates()))


def merge_learned(backbone: GPTBackbone) -> LowRankAdapter:
    """Put a backbone's plain layers back, with what was learned merged into them; return what was learned."""
    adapter = learned_adapter(backbone)
    for name, module in list(backbone.named_modules()):
        if isinstance(module, LowRankLinear):
            parent, _, attribute = name.rpartition(".")
            setattr(backbone.get_submodule(parent), attribute, module.base)
    merge_low_rank(backbone, adapter)
    return adapter


def chosen_slots(slots: Sequence[Slot], targets: Sequence[str]) -> tuple[Slot, ...]:
    """Return those of ``slots`` that ``targets`` name.

    Raises:
        OptionError: a target that names none.
    """
    for target in targets:
        if not any(_is_meant(slot, target) for slot in slots):
            known = (*TARGETS, *dict.fromkeys(slot.theirs.rpartition(".")[2] for slot in slots))
            raise OptionError(
                f"There is no matrix {target!r} to adapt.{suggestion(target, known)} Known: {', '.join(known)}."
            )
    return tuple(slot for slot in slots if any(_is_meant(slot, target) for target in targets))


def _is_meant(slot: Slot, target: str) -> bool:
    if target in TARGETS:
        return target == ALL or f".{target}." in slot.ours
    return f".{slot.theirs}".endswith(f".{target}")
