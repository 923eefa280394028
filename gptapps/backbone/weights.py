"""From the tensors of a file to the tensors of ours, every one accounted for.

A :class:`TensorSource` is a file, or several, whose tensors are read one at a time; :func:`assemble` walks a
family's table, checks names and shapes before anything is read, and joins what belongs together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from gptapps.backbone.compact import CompactMatrix, install_compact
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.families.family import Row, expand
from gptapps.backbone.gpt import GPTBackbone
from gptapps.errors import CheckpointError

HEAD = "head."
"""Before the names of the vocabulary projection's tensors."""

WEIGHT = ".weight"
"""Behind a layer's name in that of its matrix."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model as it lies on disk: what to build, and what to fill it with.

    Attributes:
        config: the backbone's.
        tensors: by our names; the vocabulary projection's under :data:`HEAD`, and only where it isn't tied.
        matrices: those that stay as their file has them, by the same names; they aren't among ``tensors``.
    """

    config: GPTConfig
    tensors: Mapping[str, Tensor]
    matrices: Mapping[str, CompactMatrix] = field(default_factory=dict)

    @property
    def head(self) -> dict[str, Tensor]:
        """The vocabulary projection's own tensors, without the prefix."""
        return {name.removeprefix(HEAD): tensor for name, tensor in self.tensors.items() if name.startswith(HEAD)}

    @property
    def dtype(self) -> torch.dtype:
        """What is computed with: the type of the tensors, which have one in common once a model is built of them."""
        return next(iter(self.tensors.values())).dtype


class TensorSource(Protocol):
    """Named tensors that are read when asked for."""

    @property
    def place(self) -> str:
        """Where they lie, as a message should name it."""

    def names(self) -> Iterable[str]:
        """Return every tensor's name."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, (rows, columns) for a matrix."""

    def read(self, name: str) -> Tensor:
        """Return a tensor's values."""


def tensor_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor a model of this configuration has, by our names, in order."""
    with torch.device("meta"):
        backbone = GPTBackbone(config)
    shapes = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
    if not config.tied_vocabulary:
        shapes[f"{HEAD}projection.weight"] = (config.vocabulary_size, config.channels)
    if config.vocabulary_bias:
        shapes[f"{HEAD}projection.bias"] = (config.vocabulary_size,)
    return shapes


def build_backbone(weights: Weights) -> GPTBackbone:
    """Return a backbone that holds exactly these tensors, without copying them.

    Compact matrices are computed with in the type of the tensors.

    Raises:
        CheckpointError: they don't fit the configuration.
    """
    with torch.device("meta"):
        backbone = GPTBackbone(weights.config)
    for name, matrix in weights.matrices.items():
        if not name.startswith(HEAD):
            install_compact(backbone, name.removesuffix(WEIGHT), matrix, weights.dtype)
    tensors = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith(HEAD)}
    try:
        backbone.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"The weights don't fit the {weights.config.family} configuration: {error}") from error
    return backbone


def assemble(
    config: GPTConfig,
    rows: tuple[Row, ...],
    source: TensorSource,
    *,
    canonical: Callable[[str], str] = str,
    ignored: Callable[[str], bool] = lambda name: False,
) -> dict[str, Tensor]:
    """Return the tensors of ours that ``config`` asks for, made from those of ``source``.

    Args and errors are those of :func:`matched`.
    """
    return {
        row.ours: row.transform.join([source.read(name) for name in names], config.attention)
        for row, names in matched(config, rows, source, canonical=canonical, ignored=ignored)
    }


def matched(
    config: GPTConfig,
    rows: tuple[Row, ...],
    source: TensorSource,
    *,
    canonical: Callable[[str], str] = str,
    ignored: Callable[[str], bool] = lambda name: False,
) -> list[tuple[Row, list[str]]]:
    """Return the rows that ``config`` asks for, each with the names in ``source`` of what it is made from.

    Args:
        config: the backbone's.
        rows: a table of tensors; rows whose tensor ``config`` doesn't have are passed over.
        source: the tensors.
        canonical: from a name in ``source`` to the table's spelling of it.
        ignored: whether a tensor, in the table's spelling, may be left aside.

    Raises:
        CheckpointError: a tensor is missing, surplus or of the wrong shape; the message names file and tensor.
    """
    shapes = tensor_shapes(config)
    wanted = [row for row in expand(rows, config.layers) if row.ours in shapes]
    spelled = {canonical(name): name for name in source.names()}
    named = {name for row in wanted for name in row.theirs}
    _refuse(source, "lacks", [name for name in _in_order(wanted) if name not in spelled])
    _refuse(
        source,
        f"holds what a {config.family} model of this configuration doesn't have:",
        [file_name for name, file_name in spelled.items() if name not in named and not ignored(name)],
    )
    for row in wanted:
        _check_shapes(config, row, shapes[row.ours], spelled, source)
    return [(row, [spelled[name] for name in row.theirs]) for row in wanted]


def disassemble(
    config: GPTConfig, rows: tuple[Row, ...], tensors: Mapping[str, Tensor]
) -> Iterable[tuple[str, Tensor]]:
    """Yield the tensors of a checkpoint, by the table's names, that ``tensors`` of ours are made of."""
    for row in expand(rows, config.layers):
        if row.ours in tensors:
            yield from zip(row.theirs, row.transform.split(tensors[row.ours], config.attention), strict=True)


def _in_order(rows: list[Row]) -> Iterable[str]:
    return (name for row in rows for name in row.theirs)


def _check_shapes(
    config: GPTConfig, row: Row, ours: tuple[int, ...], spelled: Mapping[str, str], source: TensorSource
) -> None:
    theirs = row.transform.split(torch.empty(ours, device="meta"), config.attention)
    for name, tensor in zip(row.theirs, theirs, strict=True):
        found, expected = source.shape(spelled[name]), tuple(tensor.shape)
        if found != expected:
            raise CheckpointError(
                f"{source.place} holds {spelled[name]} of shape {found} where its configuration asks for {expected}."
            )


def _refuse(source: TensorSource, problem: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more tensors" if len(names) > 3 else ""
        raise CheckpointError(f"{source.place} {problem} {', '.join(names[:3])}{more}.")
