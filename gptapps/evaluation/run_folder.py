"""A run's folder: what decides its numbers, one line an example, and the report.

    manifest.json      written first, whole or not at all
    examples.jsonl     one line a finished example, on the disk as soon as it is finished; its index says which row
    report.json        written at the end, whole or not at all
    report.html        the same for people, likewise

A line cut off in the middle, by ``kill -9`` or a full disk, is dropped when the folder is opened again, and its
example is done again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from gptapps.cache_files import durable, output_errors
from gptapps.errors import DataError, OptionError, ResourceError
from gptapps.evaluation.manifest import SCHEMA_VERSION, Manifest

MANIFEST, EXAMPLES, REPORT = "manifest.json", "examples.jsonl", "report.json"

_LOCK = ".lock"
_SYNC_SECONDS = 1.0  # a line is the system's at once and outlives the process; a power cut may take this much
_SHOWN_DIFFERENCES = 3


@dataclass(frozen=True, slots=True)
class Finished:
    """One line of ``examples.jsonl``.

    Attributes:
        index: number of its row in the data, from 0.
        id: what the data calls it, else None.
        prompt: what the model was given.
        prediction: the output's fields without its usage.
        gold: what is right.
        scores: metric -> this example's own value; None where that is no finite number.
        usage: tokens.
    """

    index: int
    id: str | None
    prompt: str
    prediction: Mapping[str, Any]
    gold: str | tuple[str, ...] | None
    scores: Mapping[str, float | None]
    usage: Mapping[str, int]

    def as_line(self) -> bytes:
        """Return the line, its end included."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return (json.dumps(fields, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")

    @classmethod
    def from_line(cls, line: bytes) -> Finished | None:
        """Return what a line holds, or None where it is no whole one."""
        try:
            fields = json.loads(line)
            gold = fields["gold"]
            return cls(**{**fields, "gold": tuple(gold) if isinstance(gold, list) else gold})
        except (ValueError, TypeError, KeyError):
            return None


class RunFolder:
    """An open run folder; a context that lets go of it at the end.

    Args:
        path: which; made where it isn't there.
        manifest: of the run that is to be made or continued.

    Raises:
        OptionError: the folder holds another run, or something else.
        ResourceError: another process works on it, or it can't be written.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        with output_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path / _LOCK)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise ResourceError(f"Another process works on the run in {path}: wait for it to end.") from None
        try:
            with output_errors(path):
                for leftover in path.glob("*.unfinished"):
                    leftover.unlink()
                self._require_same_run(manifest)
                self.finished = self._read_finished()
                self._file: BinaryIO = (path / EXAMPLES).open("ab")
        except BaseException:
            self._lock.release()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with output_errors(self.path):
            try:
                self._sync()
            finally:
                self._file.close()
                self._lock.release()

    def add(self, finished: Finished) -> None:
        """Put a finished example on the disk.

        Raises:
            ResourceError: the disk is full or can't be written.
        """
        with output_errors(self.path):
            self._file.write(finished.as_line())
            self._file.flush()
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                self._sync()
        self.finished[finished.index] = finished

    def write_report(self, content: Mapping[str, Any]) -> None:
        """Write ``report.json``.

        Raises:
            ResourceError: the disk is full or can't be written.
        """
        with output_errors(self.path):
            self._sync()
            with durable(self.path / REPORT) as file:
                file.write((json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _require_same_run(self, manifest: Manifest) -> None:
        file = self.path / MANIFEST
        if not file.exists():
            strange = sorted(entry.name for entry in self.path.iterdir() if entry.name != _LOCK)
            if strange:
                raise OptionError(
                    f"The folder {self.path} holds no run but {strange[0]!r}: name a new or empty folder as output."
                )
            with durable(file) as target:
                target.write(manifest.as_json())
            return
        written = read_manifest(self.path)
        if written.get("schema_version") != SCHEMA_VERSION:
            raise OptionError(
                f"The run in {self.path} was begun by another version of gptapps: name another folder as output."
            )
        differences = manifest.differences(written)
        if differences:
            more = len(differences) - _SHOWN_DIFFERENCES
            listed = ", ".join(differences[:_SHOWN_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")
            raise OptionError(
                f"The run in {self.path} differs from this one in {listed}: name another folder as output, or repeat "
                "the call that began it."
            )

    def _read_finished(self) -> dict[int, Finished]:
        file = self.path / EXAMPLES
        if not file.exists():
            return {}
        content = file.read_bytes()
        finished = read_lines(content)
        whole = b"".join(one.as_line() for one in finished.values())
        if whole != content:
            with durable(file) as target:
                target.write(whole)
        return finished


def read_lines(content: bytes) -> dict[int, Finished]:
    """Return the whole lines of ``examples.jsonl`` by index, in their order; of two with one index the first."""
    finished: dict[int, Finished] = {}
    for line in content.split(b"\n"):
        one = Finished.from_line(line)
        if one is not None:
            finished.setdefault(one.index, one)
    return finished


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the content of a run folder's manifest.

    Raises:
        DataError: it is no manifest.
    """
    try:
        content = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path / MANIFEST} can't be read ({error}): name the folder of a run.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path / MANIFEST} is no manifest: name the folder of a run.")
    return content
