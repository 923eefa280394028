"""Files and folders that are there whole or not at all, and failures of the disk in one sentence."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gptapps.errors import ResourceError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def is_disk_full(error: BaseException) -> bool:
    """Return whether ``error`` says that a disk or a quota has no room left."""
    return isinstance(error, OSError) and error.errno in _FULL


def disk_full(folder: Path) -> ResourceError:
    """Return the error for a disk without room, to be raised by the caller."""
    return ResourceError(
        f"The disk that holds {folder} is full: make room there, or set GPTAPPS_CACHE to a folder on "
        "another disk; what was fetched already is kept."
    )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about ``folder`` into a :class:`ResourceError`."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(folder) from error
        if error.errno in _REFUSED:
            raise ResourceError(
                f"The cache folder {folder} can't be written ({error.strerror}): change its permissions, "
                "or set GPTAPPS_CACHE to a folder of your own."
            ) from error
        raise ResourceError(
            f"The cache folder {folder} can't be used ({error}): check the disk, or set GPTAPPS_CACHE to "
            "another folder."
        ) from error


@contextmanager
def output_errors(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about a folder of results into a :class:`ResourceError`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ResourceError(
            f"The folder {error.filename or folder} can't be written ({reason}): make room, or name another folder as "
            "output; what was done is kept."
        ) from error


@contextmanager
def durable(target: Path, *, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file that appears as ``target`` when the block ends well, and not at all otherwise.

    The content is on the disk before the name is, so a power cut or ``kill -9`` leaves the old file or the
    new one, never half of one.

    Args:
        target: path of the finished file; an existing one is replaced.
        scratch: folder for the unfinished file, on the same file system; the target's own by default.

    Example:
        >>> with durable(path) as file:
        ...     file.write(b"all of it")
    """
    # Two writers of the same content may meet here (both verified the same file): each has its own scratch.
    unfinished = (scratch or target.parent) / f"{target.name}.{os.getpid()}-{threading.get_ident()}.unfinished"
    try:
        with open(unfinished, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Fill a folder that appears as ``target`` when the block ends well, and not at all otherwise.

    Everything in it is on the disk before the name is. What a killed process left unfinished is removed by the next
    one that makes the same folder; only one process may do so at a time.

    Args:
        target: path of the finished folder, which may not exist yet.

    Yields:
        The folder to fill, beside the target.

    Example:
        >>> with new_folder(Path("my-model")) as folder:                # doctest: +SKIP
        ...     (folder / "weights").write_bytes(b"all of them")
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for place, _, names in os.walk(unfinished, topdown=False):
            for name in names:
                _sync_file(os.path.join(place, name))
            _sync_folder(Path(place))
        os.rename(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync_folder(target.parent)


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files below ``folder``; 0 where there is no such folder.

    Files that vanish meanwhile, as those of another process may, count nothing.
    """
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name), follow_symlinks=False).st_size
            except OSError:
                continue
    return total


def _sync_file(path: str) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder can't be opened, and a rename is durable by itself
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
