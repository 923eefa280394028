"""Matrices of a GGUF file in the bits they have there, joined as our layers want them."""

from __future__ import annotations

import torch
from gguf.constants import GGMLQuantizationType
from torch import Tensor

from gptapps.backbone.compact import CompactMatrix
from gptapps.backbone.config import AttentionConfig
from gptapps.backbone.families.family import Row
from gptapps.backbone.gguf_blocks import KINDS, take_apart
from gptapps.backbone.gguf_file import GGUFFile
from gptapps.errors import OptionError

_HALVES = {GGMLQuantizationType.F16: torch.float16, GGMLQuantizationType.BF16: torch.bfloat16}


def compact_matrix(file: GGUFFile, row: Row, names: list[str], shape: AttentionConfig) -> CompactMatrix | None:
    """Return a matrix of ours made from those of a file.

    Args:
        file: the file.
        row: which matrix, and how parts become it; what it does to them must not touch columns.
        names: of the parts.
        shape: the backbone's attention.

    Returns:
        None where it is no matrix, or where a part has 32 bits a number or parts can't be told in one type.

    Raises:
        OptionError: a part is of a type that can't be held so.
    """
    kinds = {file.kind(name) for name in names}
    if len(file.shape(names[0])) != 2 or GGMLQuantizationType.F32 in kinds:
        return None
    if unknown := next((name for name in names if file.kind(name) not in (*_HALVES, *KINDS)), None):
        raise OptionError(
            f"{file.place} holds {unknown} as {file.kind(unknown).name}, which can't be kept as it is: leave "
            "low_memory out, or take another quantization."
        )
    if len(kinds) > 1 and not kinds <= KINDS.keys():
        return None
    parts = [_part(file, name) for name in names]

    def joined(tensors: list[Tensor]) -> Tensor:
        return row.transform.join(tensors, shape)

    values = joined([part.values for part in parts])
    scales = [part.scales for part in parts if part.scales is not None]
    if not scales:
        return CompactMatrix(values)
    columns = values.shape[1]
    smallest = min(columns // tensor.shape[1] for tensor in scales)
    parts = [part.grouped_by(smallest) for part in parts]
    scales = [part.scales for part in parts if part.scales is not None]
    if all(part.offsets is None for part in parts):
        return CompactMatrix(values, joined(scales))
    offsets = [
        torch.zeros_like(scale) if part.offsets is None else part.offsets
        for part, scale in zip(parts, scales, strict=True)
    ]
    return CompactMatrix(values, joined(scales), joined(offsets))


def _part(file: GGUFFile, name: str) -> CompactMatrix:
    kind, (rows, columns) = file.kind(name), file.shape(name)
    blocks = torch.from_numpy(file.blocks(name).copy())
    if kind in _HALVES:
        return CompactMatrix(blocks.view(_HALVES[kind]).view(rows, columns))
    numbers, scales, offsets = take_apart(blocks, kind)
    return CompactMatrix(
        numbers.reshape(rows, columns),
        scales.reshape(rows, -1),
        None if offsets is None else offsets.reshape(rows, -1),
    )
