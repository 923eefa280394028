"""Where a training stands, on the disk: whole or not at all, whenever the process is killed.

    checkpoints/update-00000120/       one folder; the newest counts
        state.json                     the update's number, the curves, the best evaluation so far, what is trained
        weights.safetensors            what is learned
        optimizer.safetensors          what the optimizer keeps
        best.safetensors               what was learned at the best evaluation

Learning rate, order of the data and random numbers follow from the update's number and the seed, so nothing of them is
kept.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from gptapps.backbone.safetensors_files import SafetensorsSource, read_json, write_json, write_safetensors
from gptapps.cache_files import new_folder
from gptapps.errors import OptionError

_NAME = re.compile(r"update-(\d{8})")
_STATE, _WEIGHTS, _OPTIMIZER, _BEST = "state.json", "weights.safetensors", "optimizer.safetensors", "best.safetensors"


@dataclass(slots=True)
class Progress:
    """How far a training is.

    Attributes:
        update: how many updates are done.
        updates: rows of the learning curve: one an update.
        evaluations: rows of the other curve: one an evaluation.
        best: the row of the best evaluation.
        stale: evaluations since then.
        stopped: whether it ended early.
        seconds: spent, over all processes that worked on it.
    """

    update: int = 0
    updates: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] | None = None
    stale: int = 0
    stopped: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A training as it was read back.

    Attributes:
        progress: how far it is.
        weights: what is learned, by name.
        optimizer: what the optimizer keeps.
        best: what was learned at the best evaluation; empty where there was none.
        scaler: of half precision, as accelerate's gradient scaler says it.
    """

    progress: Progress
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    scaler: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: holds them; made when the first one is written.
        identity: everything that decides what is learned; a checkpoint of another training is refused.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))

    def write(
        self,
        progress: Progress,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        best: Mapping[str, Tensor] | None,
        scaler: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint and forget the one before.

        Args:
            progress, weights, optimizer, scaler: see :class:`Checkpoint`.
            best: None where the one before has the same.

        Raises:
            ResourceError: the disk is full.
        """
        before = self._newest()
        target = self.folder / f"update-{progress.update:08d}"
        if target == before:
            return
        with new_folder(target) as folder:
            write_safetensors(folder / _WEIGHTS, weights, {})
            write_safetensors(folder / _OPTIMIZER, optimizer, {})
            if best is not None:
                write_safetensors(folder / _BEST, best, {})
            elif before is not None and (before / _BEST).exists():
                _same_file(before / _BEST, folder / _BEST)
            state = {name: getattr(progress, name) for name in Progress.__slots__}
            write_json(folder / _STATE, {"training": self.identity, "scaler": dict(scaler or {}), **state})
        for old in self._all()[:-1]:
            shutil.rmtree(old, ignore_errors=True)

    def read(self) -> Checkpoint | None:
        """Return the newest checkpoint, or None where there is none.

        Raises:
            OptionError: it belongs to another training.
            CheckpointError: it is damaged.
        """
        folder = self._newest()
        if folder is None:
            return None
        state = read_json(folder / _STATE)
        different = sorted(
            name
            for name in {*state["training"], *self.identity}
            if state["training"].get(name) != self.identity.get(name)
        )
        if different:
            raise OptionError(
                f"{self.folder} holds a training that differs in {', '.join(different)}: run the same command as then, "
                "or remove the folder."
            )
        best = _tensors(folder / _BEST) if (folder / _BEST).exists() else {}
        progress = Progress(**{name: state[name] for name in Progress.__slots__})
        return Checkpoint(progress, _tensors(folder / _WEIGHTS), _tensors(folder / _OPTIMIZER), best, state["scaler"])

    def _newest(self) -> Path | None:
        return next(reversed(self._all()), None)

    def _all(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))


def _same_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # a whole model's weights are written once
    except OSError:
        shutil.copyfile(source, target)


def _tensors(file: Path) -> dict[str, Tensor]:
    source = SafetensorsSource(str(file), [file])
    return {name: source.read(name) for name in source.names()}
