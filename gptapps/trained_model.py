"""The folder that training leaves: what was trained, on which base, for which task.

    gptapps.json         the mark: method, base, settings, and the checksum of every other file that predicts
    task.toml            the task's definition, labels among them
    head.safetensors     a head; beside it or alone the files of an adapter, or a whole model in the Hugging Face layout
    metrics.json, data.json, README.md       how good it is, what it was trained on, and both for people

Whoever writes one fills a folder aside and lets it appear at once (:func:`~gptapps.cache_files.new_folder`), so a
folder that is there is complete. Importing this module is cheap: no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gptapps.errors import CheckpointError, ModelNotFoundError
from gptapps.task_definition import TaskDefinition, load_task_definition, task_definition_toml

MARK, TASK = "gptapps.json", "task.toml"
SCHEMA_VERSION = 1

_HASHED_BYTES = 256 << 20  # larger files are known by their size: hashing them would take longer than mapping them


@dataclass(frozen=True, slots=True)
class Base:
    """The model that something was trained on.

    Attributes:
        name: as it was given; the path of a folder or file is absolute.
        sha256: of the model.
        of: what was hashed: ``"file"``, or ``"weights"`` where there is no one file.
    """

    name: str
    sha256: str
    of: str


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a trained folder says about itself.

    Attributes:
        path: the folder.
        method: how it was trained, such as ``"head"``.
        base: what on; None where the folder is a whole model.
        definition: the task it was trained for, its labels included.
        settings: what the method has to know to apply what was trained.
        files: name -> checksum of the files that predict.
        versions: name -> version of the libraries that trained it.
    """

    path: Path
    method: str
    base: Base | None
    definition: TaskDefinition
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it was trained to tell apart; empty where the task has none."""
        return self.definition.labels

    @property
    def sha256(self) -> str:
        """A checksum of all that decides what it predicts, the base included."""
        said = [self.base and self.base.sha256, self.method, dict(self.settings), dict(sorted(self.files.items()))]
        written = json.dumps([*said, task_definition_toml(self.definition)], sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()


class _Base(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    sha256: str
    of: str


class _Mark(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: int
    method: str
    task: str
    base: _Base | None
    settings: dict[str, Any]
    files: dict[str, str]
    versions: dict[str, str]


def is_trained_model(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is one that training left."""
    return os.path.isfile(os.path.join(os.path.expanduser(path), MARK))


def read_trained_model(path: str | os.PathLike[str]) -> TrainedModel:
    """Return what a trained folder says, with its files checked.

    Raises:
        ModelNotFoundError: there is no such folder, or training didn't leave it.
        CheckpointError: a file is missing, damaged, or of a later release.
        TaskDefinitionError: the task's definition is damaged.

    Example:
        >>> read_trained_model("my-head").labels                       # doctest: +SKIP
        ('negative', 'positive')
    """
    folder = Path(path).expanduser().absolute()
    try:
        said = json.loads((folder / MARK).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(
            f"The folder {folder} holds no trained model, for it has no {MARK}: name the output of a training."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / MARK} can't be read ({error}): train again, or restore the folder.") from None
    if isinstance(said, Mapping) and said.get("schema_version") != SCHEMA_VERSION:
        raise CheckpointError(
            f"{folder / MARK} has the schema version {said.get('schema_version')!r}, and this release of gptapps reads "
            f"{SCHEMA_VERSION}: install the release that wrote it, or train again."
        )
    try:
        mark = _Mark.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{folder / MARK} is damaged at {place!r} ({first['msg'].lower()}): train again."
        ) from None
    for name, checksum in mark.files.items():
        if _checksum(folder / name) != checksum:
            raise CheckpointError(
                f"{folder / name} isn't the file that training wrote: restore the folder from a copy, or train again."
            )
    definition = load_task_definition(folder / TASK).model_copy(update={"id": mark.task})
    base = None if mark.base is None else Base(mark.base.name, mark.base.sha256, mark.base.of)
    return TrainedModel(folder, mark.method, base, definition, mark.settings, mark.files, mark.versions)


def write_mark(
    folder: Path,
    *,
    method: str,
    base: Base | None,
    definition: TaskDefinition,
    settings: Mapping[str, Any],
    predicting: Sequence[str],
    versions: Mapping[str, str],
) -> TrainedModel:
    """Write ``task.toml`` and, last, the mark into a folder that is being filled; return what it now says.

    Args:
        folder: which.
        method, base, definition, settings, versions: as :class:`TrainedModel` has them.
        predicting: names of the files that decide what it predicts; they get checksums.
    """
    (folder / TASK).write_text(task_definition_toml(definition), encoding="utf-8")
    said = {
        "schema_version": SCHEMA_VERSION,
        "method": method,
        "task": definition.id,
        "base": base and {"name": base.name, "sha256": base.sha256, "of": base.of},
        "settings": dict(settings),
        "files": {name: _checksum(folder / name) for name in (TASK, *predicting)},
        "versions": dict(versions),
    }
    (folder / MARK).write_text(json.dumps(said, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return read_trained_model(folder)


def _checksum(file: Path) -> str:
    try:
        size = file.stat().st_size
        if size > _HASHED_BYTES:
            return f"bytes:{size}"
        with file.open("rb") as opened:
            return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(
            f"{file} can't be read ({reason}): restore the folder from a copy, or train again."
        ) from None
