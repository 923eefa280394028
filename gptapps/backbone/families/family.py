"""What a family is: a table of tensors, and how its config.json is read and written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gptapps.backbone.config import GPTConfig
from gptapps.backbone.families.settings import Settings
from gptapps.backbone.transforms import IDENTITY, Transform


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a family's table: our tensor, theirs, and how one becomes the other.

    Attributes:
        ours: our name; ``{i}`` stands for the layer, ``head.`` before the vocabulary projection's tensors.
        theirs: their names, as many as the transform has parts.
        transform: how theirs become ours.
    """

    ours: str
    theirs: tuple[str, ...]
    transform: Transform = IDENTITY


def row(ours: str, *theirs: str, transform: Transform = IDENTITY) -> tuple[Row, ...]:
    """Return the row of one tensor."""
    return (Row(ours, theirs, transform),)


def layer(ours: str, *theirs: str, transform: Transform = IDENTITY, bias: Transform | None = None) -> tuple[Row, ...]:
    """Return the rows of a layer's ``.weight`` and ``.bias``.

    Args:
        ours, theirs: names without the suffix.
        transform: of the weight, and of the bias where ``bias`` is None.
        bias: of the bias, where it is another one.
    """
    return tuple(
        Row(ours + suffix, tuple(name + suffix for name in theirs), how)
        for suffix, how in ((".weight", transform), (".bias", bias or transform))
    )


@dataclass(frozen=True, slots=True)
class Family:
    """A family of checkpoints in the Hugging Face layout.

    A row whose tensor a configuration doesn't have (a bias, say) plays no part for that configuration.

    Attributes:
        name: the ``model_type`` that is written.
        model_types: every ``model_type`` that is read.
        architecture: transformers' class with a language-model head.
        rows: the table.
        spellings: ``(pattern, replacement)``: other ways to spell a tensor's name; the first that fits is used.
        ignored: patterns of tensors that carry no weights, such as masks and rotary tables.
        read_config: config.json -> configuration.
        write_config: configuration -> config.json; without ``model_type``, ``architectures`` and ``dtype``.
    """

    name: str
    model_types: tuple[str, ...]
    architecture: str
    rows: tuple[Row, ...]
    spellings: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    read_config: Callable[[Settings], GPTConfig]
    write_config: Callable[[GPTConfig], dict[str, Any]]

    def canonical(self, name: str) -> str:
        """Return the table's spelling of a checkpoint's tensor name."""
        for pattern, replacement in self.spellings:
            spelled, count = re.subn(pattern, replacement, name, count=1)
            if count:
                return spelled
        return name

    def ignores(self, name: str) -> bool:
        """Return whether a tensor, in the table's spelling, carries no weights."""
        return any(re.search(pattern, name) for pattern in self.ignored)


def expand(rows: tuple[Row, ...], layers: int) -> Iterator[Row]:
    """Yield each row once for each layer it stands for."""
    for line in rows:
        if "{i}" not in line.ours:
            yield line
            continue
        for i in range(layers):
            theirs = tuple(name.replace("{i}", str(i)) for name in line.theirs)
            yield Row(line.ours.replace("{i}", str(i)), theirs, line.transform)
