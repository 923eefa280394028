"""Low-rank updates of a backbone's matrices: what is learned, which rows it belongs to, and how it is merged.

Symbols: R rank, C inputs, F outputs of a matrix.

Source: Hu et al. 2021 (LoRA), section 4.1: a matrix W becomes W + scale B A with B (F, R) and A (R, C).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps.backbone.config import GPTConfig
from gptapps.backbone.families import FAMILIES
from gptapps.backbone.families.family import expand
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.transforms import IDENTITY, TRANSPOSE, Transform
from gptapps.backbone.weights import tensor_shapes


@dataclass(frozen=True, slots=True)
class Slot:
    """A linear layer of the checkpoint's layout, and which rows of a matrix of ours it is.

    Queries, keys and values are three layers in most checkpoints and one matrix here, so a matrix has several slots,
    each with an update of its own.

    Attributes:
        ours: name of our matrix.
        theirs: the layer's name in the checkpoint's layout, without ``.weight``.
        start, rows: the slot's rows of our matrix.
        inputs: C.
        transform: how the rows are ordered there.
    """

    ours: str
    theirs: str
    start: int
    rows: int
    inputs: int
    transform: Transform

    @property
    def block(self) -> int:
        """The block it belongs to, counted from 0."""
        return int(self.ours.split(".")[1])


@dataclass(frozen=True, slots=True, eq=False)
class LowRankUpdate:
    """What is added to a slot: ``scale * up @ down``.

    Attributes:
        down: A, (R, C).
        up: B, (rows, R), in the order of our rows.
        scale: of the product.
    """

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class LowRankAdapter:
    """Updates of some of a backbone's matrices, each with the slot it belongs to."""

    updates: tuple[tuple[Slot, LowRankUpdate], ...]


def low_rank_slots(config: GPTConfig) -> tuple[Slot, ...]:
    """Return every linear layer that the blocks of a checkpoint of this configuration have.

    Example:
        >>> [slot.theirs for slot in low_rank_slots(config)][:2]        # doctest: +SKIP
        ['model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.k_proj']
    """
    shapes = tensor_shapes(config)
    rows = expand(FAMILIES[config.family].rows, config.layers)
    matrices = [row for row in rows if row.ours.startswith("blocks.") and len(shapes.get(row.ours, ())) == 2]
    return tuple(slot for row in matrices for slot in _slots(config, row.ours, row.theirs, row.transform, shapes))


def merge_low_rank(backbone: GPTBackbone, adapter: LowRankAdapter) -> None:
    """Add an adapter's updates to the weights, after which it costs nothing.

    The weights get memory of their own; files that they were mapped from stay as they are.
    """
    merged: dict[str, Tensor] = {}
    for slot, update in adapter.updates:
        if slot.ours not in merged:
            weight = backbone.get_parameter(slot.ours).detach()
            merged[slot.ours] = weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)
        rows = merged[slot.ours][slot.start : slot.start + slot.rows]
        rows.addmm_(update.up.detach().to(rows), update.down.detach().to(rows), alpha=update.scale)
    for name, tensor in merged.items():
        parameter = backbone.get_parameter(name)
        parameter.data = tensor.to(parameter.dtype)


def by_matrix(slots: tuple[Slot, ...]) -> Mapping[str, tuple[Slot, ...]]:
    """Return the slots of each of our matrices, in the order of their rows."""
    grouped: dict[str, tuple[Slot, ...]] = {}
    for slot in slots:
        grouped[slot.ours] = (*grouped.get(slot.ours, ()), slot)
    return grouped


def _slots(
    config: GPTConfig, ours: str, theirs: tuple[str, ...], transform: Transform, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Slot]:
    of_rows = IDENTITY if transform is TRANSPOSE else transform  # an update is (outputs, inputs) in every layout
    parts = of_rows.split(torch.empty(shapes[ours], device="meta"), config.attention)
    start = 0
    for name, part in zip(theirs, parts, strict=True):
        rows, inputs = part.shape
        # Parts are stacked as they are; only a matrix that is one layer there may order its rows in another way.
        yield Slot(ours, name.removesuffix(".weight"), start, rows, inputs, of_rows if len(parts) == 1 else IDENTITY)
        start += rows
