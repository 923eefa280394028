"""Where a training keeps what it has done until its model's folder stands: after a kill, the same call goes on.

my-model.work/
  manifest.json        what decides the weights: another training is refused
  shared/              what all rounds have in common, such as features
  final/, fold-1/ …    each training's own: checkpoints
  fold-1.json …        the result of a round that is done
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gptapps.cache_files import durable, output_errors
from gptapps.errors import DataError, OptionError, ResourceError
from gptapps.evaluation.manifest import Manifest
from gptapps.evaluation.run_folder import read_manifest

MANIFEST, _LOCK = "manifest.json", ".lock"


class WorkFolder:
    """An open work folder.

    Attributes:
        path: which.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def shared(self) -> Path:
        """What all rounds have in common."""
        return self.folder("shared")

    def folder(self, name: str) -> Path:
        """Return the folder of a round, made where it isn't there."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def result(self, name: str) -> Any:
        """Return the result of a round, None where it isn't done."""
        try:
            return json.loads((self.path / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None

    def keep(self, name: str, result: Any) -> None:
        """Put the result of a round on the disk."""
        with durable(self.path / f"{name}.json") as file:
            file.write((json.dumps(result, ensure_ascii=False, indent=2) + "\n").encode())

    def remove(self) -> None:
        """Delete everything: the model's folder stands."""
        shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def open_work_folder(output: Path, manifest: Manifest) -> Iterator[WorkFolder]:
    """Open the work folder of a training, made where it isn't there.

    Args:
        output: the model's folder; this one lies beside it.
        manifest: what decides the weights.

    Raises:
        OptionError: it holds another training; says in what that differs.
        ResourceError: another process works on it, or it can't be written.
    """
    path = work_path(output)
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ResourceError(f"Another process trains in {path}: wait for it to end.") from None
        try:
            if (path / MANIFEST).exists():
                require_same(manifest, _known(path), f"The training begun in {path}")
            else:
                with durable(path / MANIFEST) as file:
                    file.write(manifest.as_json())
            yield WorkFolder(path)
        finally:
            lock.release()


def joined_work_folder(output: Path) -> WorkFolder:
    """Return the work folder that another process has opened, or is about to, for the training this one joins."""
    return WorkFolder(work_path(output))


def work_path(output: Path) -> Path:
    """Return where the work folder of a model's folder lies."""
    return output.with_name(f"{output.name}.work")


def require_same(manifest: Manifest, earlier: Mapping[str, Any], what: str) -> None:
    """Refuse an earlier training that differs from this one.

    Raises:
        OptionError: says in what.
    """
    differences = manifest.differences(earlier)
    if differences:
        listed = ", ".join(differences[:3]) + (f" and {len(differences) - 3} more" if len(differences) > 3 else "")
        raise OptionError(
            f"{what} differs from this one in {listed}: name another folder as output, or remove that one."
        )


def _known(path: Path) -> Mapping[str, Any]:
    try:
        return read_manifest(path)
    except DataError:
        raise OptionError(f"The folder {path} is no training's: name another folder as output.") from None
