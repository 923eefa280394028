"""The run folder: what is finished is there, whatever was cut off."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError, OptionError, ResourceError
from gptapps.evaluation.manifest import Manifest
from gptapps.evaluation.run_folder import Finished, RunFolder, read_lines, read_manifest

FINISHED = st.builds(
    Finished,
    index=st.integers(0, 50),
    id=st.none() | st.text(max_size=3),
    prompt=st.text(max_size=20),
    prediction=st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False) | st.text(max_size=5), max_size=2),
    gold=st.none() | st.text(max_size=5) | st.tuples(st.text(max_size=5), st.text(max_size=5)),
    scores=st.dictionaries(st.text(max_size=3), st.none() | st.floats(allow_nan=False), max_size=2),
    usage=st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
)


def manifest(**content: Any) -> Manifest:
    return Manifest.of({"task": {"sha256": "t"}, **content}, created="now", batch_size=8)


def finished(index: int) -> Finished:
    return Finished(index, None, "prompt\n\u2028", {"label": "好"}, "好", {"accuracy": 1.0}, {"input_tokens": 3})


@given(FINISHED)
def test_a_line_gives_back_what_was_written(one: Finished) -> None:
    line = one.as_line()
    assert line.count(b"\n") == 1
    assert Finished.from_line(line) == one


@given(st.lists(FINISHED, max_size=4, unique_by=lambda one: one.index), st.data())
def test_a_file_cut_off_anywhere_keeps_its_whole_lines(lines: list[Finished], data: st.DataObject) -> None:
    content = b"".join(one.as_line() for one in lines)
    cut = data.draw(st.integers(0, len(content)))
    kept = read_lines(content[:cut])
    assert list(kept.values()) == lines[: len(kept)]
    whole = content[:cut].count(b"\n")
    assert len(kept) in (whole, whole + 1)  # one more where only the end of its line is missing


def test_what_is_added_is_read_back_and_a_torn_line_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with RunFolder(path, manifest()) as folder:
        folder.add(finished(0))
        folder.add(finished(1))
        assert (path / "examples.jsonl").read_bytes().count(b"\n") == 2  # there already, before it is closed
    with (path / "examples.jsonl").open("ab") as file:
        file.write(finished(2).as_line()[:30])
    with RunFolder(path, manifest()) as folder:
        assert list(folder.finished) == [0, 1]
        folder.add(finished(2))
    lines = (path / "examples.jsonl").read_bytes()
    assert lines == b"".join(finished(index).as_line() for index in range(3))


def test_a_damaged_line_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    with RunFolder(tmp_path, manifest()) as folder:
        for index in range(3):
            folder.add(finished(index))
    file = tmp_path / "examples.jsonl"
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], b"\0" * 20, lines[2], b""]))
    with RunFolder(tmp_path, manifest()) as folder:
        assert list(folder.finished) == [0, 2]


def test_the_manifest_is_there_before_any_example(tmp_path: Path) -> None:
    with RunFolder(tmp_path, manifest(seed=3)) as folder:
        written = read_manifest(tmp_path)
        assert (written["seed"], written["signature"]) == (3, manifest(seed=3).signature)
        assert folder.finished == {}


def test_what_a_killed_process_left_of_its_manifest_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json.12-34.unfinished").write_text("{", "utf-8")
    with RunFolder(tmp_path, manifest()):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "examples.jsonl", "manifest.json"]


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…", "utf-8")
    with pytest.raises(OptionError, match=r"holds no run but 'thesis.tex'"):
        RunFolder(tmp_path, manifest())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "thesis.tex"]


def test_a_manifest_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[1]", "utf-8")
    with pytest.raises(DataError, match="is no manifest"):
        RunFolder(tmp_path, manifest())
    (tmp_path / "manifest.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match="can't be read"):
        RunFolder(tmp_path, manifest())


def test_two_processes_dont_work_on_one_run(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gptapps.errors import ResourceError\n"
        "from gptapps.evaluation.manifest import Manifest; from gptapps.evaluation.run_folder import RunFolder\n"
        "try: RunFolder(Path(sys.argv[1]), Manifest.of({'task': {'sha256': 't'}}, created='now', batch_size=8))\n"
        "except ResourceError as error: sys.stdout.write(str(error))"
    )
    with RunFolder(tmp_path, manifest()):
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert other.stdout.startswith("Another process works on the run in")
    with RunFolder(tmp_path, manifest()):
        pass  # the first one let go of it


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    class Full:
        def write(self, line: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with RunFolder(tmp_path, manifest()) as folder:
        file, folder._file = folder._file, Full()  # type: ignore[assignment]
        with pytest.raises(ResourceError, match=r"no space left on device.*what was done is kept"):
            folder.add(finished(0))
        folder._file = file


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    with RunFolder(tmp_path, manifest()) as folder:
        folder.write_report({"scores": [1.5]})
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == {"scores": [1.5]}
