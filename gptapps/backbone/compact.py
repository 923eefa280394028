"""Matrices held as their file has them, in 8 or 16 bits a number, and widened each time they are used.

Nothing is rounded: what is widened is what would have been loaded. A quarter to a half of the memory is needed, and a
pass over the weights more each time, which many tokens at once hardly notice.

Symbols: R rows, C columns, G groups of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gptapps import kernels

# Numbers that are widened at once. Pieces of 4 MiB are still in the caches when they are multiplied, which counts for
# few tokens; for many, fewer and larger products do.
_PIECE_FOR_FEW, _PIECE_FOR_MANY, _MANY = 2**20, 2**21, 64


@dataclass(frozen=True, slots=True)
class CompactMatrix:
    """A matrix (R, C) in fewer bits than it is computed with.

    Attributes:
        values: (R, C), of a narrower floating-point type or int8.
        scales: for int8 what each group of C / G neighbours in a row is multiplied by, (R, G) float32.
        offsets: what is added to them afterwards, (R, G) float32; None for nothing.
    """

    values: Tensor
    scales: Tensor | None = None
    offsets: Tensor | None = None

    def widened(self, rows: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """Return some of the rows, (rows, C), as they would have been loaded."""
        wide = self.values[rows].to(torch.float32)
        if self.scales is not None:
            groups = wide.view(wide.shape[0], self.scales.shape[1], -1)
            groups.mul_(self.scales[rows].unsqueeze(-1))
            if self.offsets is not None:
                groups.add_(self.offsets[rows].unsqueeze(-1))
        return wide.to(dtype)

    def at(self, places: Tensor) -> Tensor:
        """Return the float32 numbers at some places (N,) of the rows laid end to end."""
        numbers = self.values.reshape(-1)[places].to(torch.float32)
        if self.scales is not None:
            groups = places // (self.values.shape[1] // self.scales.shape[1])
            numbers.mul_(self.scales.reshape(-1)[groups])
            if self.offsets is not None:
                numbers.add_(self.offsets.reshape(-1)[groups])
        return numbers

    def to(self, device: torch.device | str) -> CompactMatrix:
        """Return the matrix on a device."""
        scales, offsets = (None if part is None else part.to(device) for part in (self.scales, self.offsets))
        return CompactMatrix(self.values.to(device), scales, offsets)

    def grouped_by(self, columns: int) -> CompactMatrix:
        """Return the same matrix with smaller groups, of so many columns."""
        if self.scales is None:
            return self
        times = self.values.shape[1] // columns // self.scales.shape[1]
        offsets = None if self.offsets is None else self.offsets.repeat_interleave(times, dim=1)
        return replace(self, scales=self.scales.repeat_interleave(times, dim=1), offsets=offsets)


class Compact(nn.Module):
    """What the layers below share: a matrix in few bits and the type it is widened to.

    Args:
        matrix: (R, C).
        dtype: of the widened numbers.
    """

    values: Tensor
    scales: Tensor | None
    offsets: Tensor | None

    def __init__(self, matrix: CompactMatrix, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        for name in ("values", "scales", "offsets"):
            self.register_buffer(name, getattr(matrix, name), persistent=False)

    @property
    def matrix(self) -> CompactMatrix:
        """The matrix."""
        return CompactMatrix(self.values, self.scales, self.offsets)


class CompactEmbedding(Compact):
    """A row of weights for each id."""

    @property
    def num_embeddings(self) -> int:
        """How many ids there are."""
        return len(self.values)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (..., C) for (...) ids."""
        return self.matrix.widened(ids.reshape(-1), self.dtype).view(*ids.shape, -1)


class CompactLinear(Compact):
    """``x @ weight.T + bias``, as many rows of the weight widened at a time as the caches hold."""

    def __init__(self, matrix: CompactMatrix, dtype: torch.dtype, bias: nn.Parameter | None) -> None:
        super().__init__(matrix, dtype)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., R) for (..., C)."""
        matrix, pieces = self.matrix, []
        for rows in self._pieces(x.numel() // x.shape[-1]):
            bias = None if self.bias is None else self.bias[rows]
            pieces.append(kernels.linear(x, matrix.widened(rows, self.dtype), bias))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    def _pieces(self, tokens: int) -> Iterator[slice]:
        rows, columns = self.values.shape
        size = max(1, (_PIECE_FOR_FEW if tokens < _MANY else _PIECE_FOR_MANY) // columns)
        for start in range(0, rows, size):
            yield slice(start, min(start + size, rows))


def install_compact(model: nn.Module, name: str, matrix: CompactMatrix, dtype: torch.dtype) -> None:
    """Put a compact layer in the place of a linear one or an embedding.

    Args:
        model: that has it.
        name: of the layer.
        matrix: its weight.
        dtype: to compute with.
    """
    parent_name, _, attribute = name.rpartition(".")
    layer = model.get_submodule(name)
    compact = (
        CompactEmbedding(matrix, dtype)
        if isinstance(layer, nn.Embedding)
        else CompactLinear(matrix, dtype, layer.get_parameter("bias") if layer.bias is not None else None)
    )
    setattr(model.get_submodule(parent_name), attribute, compact)


def is_compact(model: nn.Module) -> bool:
    """Return whether any of a model's matrices is held so."""
    return any(isinstance(layer, Compact) for layer in model.modules())


def sampled_weights(model: nn.Module, most: int) -> Iterator[tuple[str, torch.Size, torch.dtype, Tensor]]:
    """Yield name, shape, type and up to about ``most`` evenly spread numbers of every weight.

    It makes no difference to them whether a matrix is compact.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, Compact):
            places = torch.arange(0, layer.values.numel(), max(1, layer.values.numel() // most))
            numbers = layer.matrix.at(places.to(layer.values.device)).to(layer.dtype)
            yield f"{name}.weight", layer.values.shape, layer.dtype, numbers
            held = dict(layer.named_parameters(recurse=False))  # a bias
        else:
            held = {own: tensor for own, tensor in layer.state_dict().items() if "." not in own}
        for own, tensor in held.items():
            flat = tensor.detach().reshape(-1)
            yield f"{name}.{own}".lstrip("."), tensor.shape, tensor.dtype, flat[:: max(1, flat.numel() // most)]
