"""The cached copy of a packaged model: found ready, found damaged and mended, licensed, removed."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from pathlib import Path

import pytest
from wheel_index import point_pip_at, write_model

from gptapps.errors import LicenceNotAcceptedError, ModelFetchError, ModelNotFoundError, ResourceError
from gptapps.packaged_copy import PackagedCopy

CONTENT = b"GGUF " * 10_000


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder pip takes wheels from."""
    folder = tmp_path / "index"
    folder.mkdir()
    point_pip_at(folder, monkeypatch)
    return folder


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> PackagedCopy:
    """A copy that is not there yet."""
    return PackagedCopy(write_model(index, CONTENT), tmp_path / "cache")


@pytest.fixture
def ready(copy: PackagedCopy) -> PackagedCopy:
    """A copy that is there, put in place by hand, and verified."""
    copy.folder.mkdir(parents=True)
    copy.path.write_bytes(CONTENT)
    copy.ensure(offline=True)
    return copy


def test_absent_then_partial_then_ready(copy: PackagedCopy) -> None:
    assert (copy.state(), copy.size) == ("absent", 0)
    (copy.folder / "fetching").mkdir(parents=True)
    (copy.folder / "fetching" / "part00").write_bytes(b"half")
    assert (copy.state(), copy.size) == ("partial", 4)
    assert copy.ensure().read_bytes() == CONTENT
    assert copy.state() == "ready"
    assert copy.size >= len(CONTENT)


def test_a_ready_copy_needs_neither_index_nor_reading(ready: PackagedCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashlib.file_digest", None)
    assert ready.ensure(offline=True) == ready.path


def test_a_missing_stamp_is_verified_not_fetched(ready: PackagedCopy) -> None:
    stamp = ready.path.with_name("weights.gguf.json")
    stamp.unlink()
    assert ready.state() == "partial"
    ready.ensure(offline=True)
    assert json.loads(stamp.read_bytes())["sha256"] == ready.model.sha256
    assert ready.state() == "ready"


@pytest.mark.parametrize("damaged", [b"xxxx" + CONTENT[4:], CONTENT[:-1], CONTENT + b"x", b""])
def test_a_damaged_file_is_mended_with_a_warning(
    ready: PackagedCopy, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ready.path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING, logger="gptapps"):
        assert ready.ensure().read_bytes() == CONTENT
    (record,) = caplog.records
    assert record.name == "gptapps"
    assert "is damaged" in record.getMessage()
    assert str(ready.path) in record.getMessage()
    assert ready.state() == "ready"


def test_damage_that_keeps_size_and_time_is_found_by_a_recheck(ready: PackagedCopy) -> None:
    before = ready.path.stat()
    ready.path.write_bytes(b"xxxx" + CONTENT[4:])
    os.utime(ready.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ready.ensure(recheck=True).read_bytes() == CONTENT


def test_a_sound_copy_is_quiet(ready: PackagedCopy, caplog: pytest.LogCaptureFixture) -> None:
    os.utime(ready.path, ns=(1, 1))
    ready.ensure()
    ready.ensure(recheck=True)
    assert not caplog.records


def test_offline_and_absent_is_one_sentence_and_fetches_nothing(copy: PackagedCopy) -> None:
    with pytest.raises(ModelFetchError, match=r"is not in the cache .*offline.*`gptapps models pull tiny-model`"):
        copy.ensure(offline=True)
    assert copy.state() == "absent"


def test_offline_and_damaged_is_one_sentence_and_deletes_nothing(ready: PackagedCopy) -> None:
    ready.path.write_bytes(b"damaged")
    with pytest.raises(ModelFetchError, match=r"is damaged in the cache .*weights\.gguf.*offline"):
        ready.ensure(offline=True)
    assert ready.path.read_bytes() == b"damaged"


def test_terms_are_refused_accepted_once_and_remembered(index: Path, tmp_path: Path) -> None:
    copy = PackagedCopy(write_model(index, CONTENT, needs_acceptance=True), tmp_path / "cache")
    with pytest.raises(
        LicenceNotAcceptedError,
        match=r"Example Terms \(https://example\.org/terms\).*`gptapps models pull tiny-model --accept-licence`",
    ):
        copy.ensure()
    assert copy.state() == "absent"
    copy.ensure(accept_licence=True)
    copy.remove()
    assert copy.licence_accepted
    assert copy.ensure().read_bytes() == CONTENT


def test_other_terms_are_asked_for_again(index: Path, tmp_path: Path) -> None:
    copy = PackagedCopy(write_model(index, CONTENT, needs_acceptance=True), tmp_path / "cache")
    copy.ensure(accept_licence=True)
    record = tmp_path / "cache" / "licences" / "tiny-model.json"
    record.write_text(record.read_text().replace("/terms", "/former-terms"))
    copy.remove()
    with pytest.raises(LicenceNotAcceptedError):
        copy.ensure()


def test_remove_frees_the_derived_caches_too(ready: PackagedCopy) -> None:
    ready.derived.mkdir(parents=True)
    (ready.derived / "weights.bin").write_bytes(b"d" * 1000)
    size = ready.size
    assert size > len(CONTENT) + 1000
    assert ready.remove() == size
    assert ready.state() == "absent"
    assert not ready.derived.exists()
    with pytest.raises(ModelNotFoundError, match="nothing to remove"):
        ready.remove()


def test_threads_at_once_fetch_once(copy: PackagedCopy) -> None:
    started: list[str] = []
    guard = threading.Barrier(4)

    def ensure() -> None:
        guard.wait()
        copy.ensure(progress=lambda what, done, total: started.append(what) if done == total else None)

    threads = [threading.Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started.count("Joining tiny-model") == 1
    assert copy.path.read_bytes() == CONTENT


def test_waiting_for_another_is_told(copy: PackagedCopy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gptapps")
    waiting = threading.Event()
    caplog.handler.addFilter(lambda record: waiting.set() or True)
    second = threading.Thread(target=copy.ensure)

    def hold(what: str, done: int, total: int) -> None:
        if not second.ident:
            second.start()
            assert waiting.wait(30)

    copy.ensure(progress=hold)
    second.join()
    assert [record.getMessage() for record in caplog.records] == [
        "Waiting for another process that is fetching the model 'tiny-model'."
    ]


def test_a_sound_file_in_a_read_only_cache_is_used(copy: PackagedCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    copy.folder.mkdir(parents=True)
    copy.path.write_bytes(CONTENT)
    monkeypatch.setattr(os, "fsync", refuse)
    assert copy.ensure() == copy.path
    assert [path.name for path in copy.folder.iterdir()] == ["weights.gguf"]


def test_a_cache_that_cannot_be_written_is_one_sentence(copy: PackagedCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResourceError, match=r"can't be written \(Read-only file system\).*GPTAPPS_CACHE"):
        copy.ensure()


def test_a_cache_that_is_a_file_is_one_sentence(index: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    copy = PackagedCopy(write_model(index, CONTENT), tmp_path / "cache")
    assert copy.state() == "absent"
    with pytest.raises(ResourceError, match=r"cache.* can't be used .*GPTAPPS_CACHE"):
        copy.ensure()


def refuse(descriptor: int) -> None:
    raise OSError(errno.EROFS, "Read-only file system")
