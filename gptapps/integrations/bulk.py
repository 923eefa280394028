"""Prediction over many files, part by part: what is finished lies on the disk whole, and is never done again.

    OUTPUT/NAME.jsonl                    a finished file: line i is the result of row i
    OUTPUT/.NAME.parts/000012.jsonl      a finished part of one that isn't
    OUTPUT/.map.json, .map-model.json    what decides the results, so that nothing else goes on in the folder

A part appears at once or not at all, whoever does it, and however often: a process that is killed loses the part it
was at, and the same command does that one again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from gptapps.cache_files import durable
from gptapps.datasets import Format, read_rows
from gptapps.errors import DataError, OptionError, ResourceError

PART_ROWS = 256
_MARK, _LOCK = ".map.json", ".map.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPlan:
    """What is to be done to which files.

    Attributes:
        task: a task's name or alias, or the path of a definition.
        inputs: files, or patterns such as ``data/*.jsonl``.
        output: the folder of the results.
        format: how the files are read; None goes by suffix.
        part_rows: rows of a part.
        options: of ``pipeline(task, …)``.
    """

    task: str
    inputs: Sequence[str]
    output: Path
    format: Format | None = None
    part_rows: int = PART_ROWS
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file's rows.

    Attributes:
        file: which file.
        number: which of its parts, from 0.
        target: where its results go.
    """

    file: Path
    number: int
    target: Path


class BulkFolder:
    """The folder of the results; a context that lets go of it at the end.

    Args:
        plan: what is to be done.

    Raises:
        OptionError: the plan makes no sense, or the folder holds results of another one.
        DataError: no such file, or one that can't be read.
        ResourceError: another process works in the folder, or it can't be written.
    """

    def __init__(self, plan: BulkPlan) -> None:
        if plan.part_rows < 1:
            raise OptionError(f"part_rows is {plan.part_rows}, but has to be 1 or above.")
        self._plan = plan
        self._targets = _targets(plan)
        self._rows = {file: sum(1 for _ in read_rows(file, plan.format)) for file in self._targets}
        try:
            plan.output.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(plan.output / _LOCK)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ResourceError(f"Another process writes into {plan.output}: wait for it to end.") from None
        except OSError as error:
            raise unwritable(plan.output, error) from None
        try:
            self._require_same()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> BulkFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def rows(self) -> Mapping[Path, int]:
        """The result file of each input, and how many rows it has or will have."""
        return {self._targets[file]: count for file, count in self._rows.items()}

    def remaining(self) -> list[Part]:
        """Return the parts that aren't finished, in order; files of which none is left are made whole."""
        return [part for file in self._targets for part in self._missing(file)]

    def finish(self, part: Part) -> None:
        """Make a file whole if this was its last part.

        Raises:
            ResourceError: the disk is full or can't be written.
        """
        self._missing(part.file)

    def _missing(self, file: Path) -> list[Part]:
        target, folder = self._targets[file], self._parts_folder(file)
        if target.exists():
            shutil.rmtree(folder, ignore_errors=True)
            return []
        count = -(-self._rows[file] // self._plan.part_rows)
        parts = [Part(file, number, folder / f"{number:06}.jsonl") for number in range(count)]
        missing = [part for part in parts if not part.target.exists()]
        if not missing:
            try:
                with durable(target) as whole:
                    for part in parts:
                        with part.target.open("rb") as opened:
                            shutil.copyfileobj(opened, whole)
            except OSError as error:
                raise unwritable(self._plan.output, error) from None
            shutil.rmtree(folder, ignore_errors=True)
        return missing

    def _parts_folder(self, file: Path) -> Path:
        return self._plan.output / f".{self._targets[file].stem}.parts"

    def _require_same(self) -> None:
        """Write down what decides the results, or compare it with what is written down."""
        mark, plan = self._plan.output / _MARK, self._plan
        said: dict[str, Any] = {
            "task": plan.task,
            "options": {name: value for name, value in plan.options.items() if name not in _NO_RESULT},
            "part_rows": plan.part_rows,
            "format": plan.format,
        }
        said = json.loads(json.dumps(said, default=str))
        files = {self._targets[file].name: _checksum(file) for file in self._targets}
        before: dict[str, Any] = {}
        if mark.exists():
            before = json.loads(mark.read_bytes())
            different = [name for name in said if said[name] != before.get(name)]
            different += [name for name, sha256 in files.items() if before["files"].get(name, sha256) != sha256]
            if different:
                raise OptionError(
                    f"The results in {plan.output} are of a run that differs from this one in {', '.join(different)}: "
                    "name another folder as output, or repeat the command that began it."
                )
        elif existing := [target.name for target in self._targets.values() if target.exists()]:
            raise OptionError(
                f"The folder {plan.output} holds {existing[0]!r} already, which no such run wrote: name another folder."
            )
        try:
            with durable(mark) as opened:
                content = {**said, "files": {**before.get("files", {}), **files}}
                opened.write((json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())
            for file in self._targets:
                self._parts_folder(file).mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(plan.output, error) from None


_NO_RESULT = ("progress", "threads", "batch_size", "max_cache_bytes", "low_memory", "offline")
"""Options that decide nothing about the results."""


def _targets(plan: BulkPlan) -> dict[Path, Path]:
    """Return the file of results of each input."""
    targets: dict[Path, Path] = {}
    for file in _files(plan.inputs):
        target = plan.output / f"{file.stem}.jsonl"
        twin = next((other for other, taken in targets.items() if taken == target), None)
        if twin is not None:
            raise OptionError(f"The results of {twin} and {file} would both be {target}: give them different names.")
        if target.absolute() == file.absolute():
            raise OptionError(f"The results of {file} would take its place: name another folder as output.")
        targets[file] = target
    return targets


def _files(inputs: Sequence[str]) -> list[Path]:
    files: dict[str, None] = {}
    for pattern in inputs:
        found = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise DataError(f"There is no file {pattern!r}: check the path or the pattern.")
        for name in found:
            if os.path.isdir(name):
                raise DataError(f"{name} is a folder: name the files in it, such as {os.path.join(name, '*.jsonl')!r}.")
            files[name] = None
    return [Path(name) for name in files]


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def unwritable(folder: Path, error: OSError) -> ResourceError:
    """Return the error for a folder that can't be written, to be raised by the caller."""
    reason = (error.strerror or str(error)).lower()
    return ResourceError(
        f"The folder {folder} can't be written ({reason}): make room, or name another one as output; what was finished "
        "is kept."
    )
