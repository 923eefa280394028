"""Bulk prediction on Ray Data: a real cluster of two workers, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROWS = 400
PART_ROWS = 8


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A short path for Ray's sockets, which may not be long."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def processes_below(ancestor: int) -> Iterator[tuple[int, str]]:
    """Yield id and command line of every process that descends from one."""
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(place.parent.name)] = int(place.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
    for process in parents:
        line, up = "", process
        while up in parents and up != ancestor:
            up = parents[up]
        if up == ancestor and process != ancestor:
            try:
                line = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            yield process, line


def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    tmp_path: Path, tiny_directory: Path, ray_folder: Path
) -> None:
    pytest.importorskip("ray")
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in "ab":
        lines = (json.dumps({"text": f"{name} {row}"}) + "\n" for row in range(ROWS))
        (data / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    options = ("--labels", "fog,sun", "-m", str(tiny_directory), "--part-rows", str(PART_ROWS))
    command = [sys.executable, "-m", "gptapps", "map", "classify", *options, "--input", "data/*.jsonl"]
    environment = {**os.environ, "RAY_TMPDIR": str(ray_folder), "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.Popen(
        [*command, "--output", "out", "--engine", "ray", "--workers", "2"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        killed = kill_a_worker(run, out)
        stdout, stderr = run.communicate(timeout=240)
    finally:
        run.kill()
    assert run.returncode == 0, stderr
    assert killed
    # In front Ray says that a worker died.
    assert stdout.splitlines()[-2:] == [f"out/{name}.jsonl\t{ROWS}" for name in "ab"]
    here = [*command, "--output", "here"]
    subprocess.run(here, env=environment, cwd=tmp_path, check=True, capture_output=True)
    for name in "ab":
        assert results(out / f"{name}.jsonl") == results(tmp_path / "here" / f"{name}.jsonl")


def kill_a_worker(run: subprocess.Popen[str], out: Path) -> bool:
    """Kill a worker as soon as parts are finished, and return whether the others had work left."""
    while run.poll() is None:
        if len(list(out.glob(".*.parts/*.jsonl"))) >= 2:
            workers = [
                process for process, line in processes_below(run.pid) if line.startswith("ray::") and "Map" in line
            ]
            if workers:
                os.kill(workers[0], signal.SIGKILL)
                return len(list(out.glob("*.jsonl"))) < 2
        time.sleep(0.02)
    return False


def results(file: Path) -> list[tuple[str, float]]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(row["label"], round(row["score"], 3)) for row in rows]
