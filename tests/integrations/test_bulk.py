"""Prediction over many files: part by part, resumed without loss or repetition, refused where things would mix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stub_task import StubTask, stub_identity, stub_pipeline

from gptapps.errors import DataError, OptionError, ResourceError
from gptapps.integrations.bulk import BulkFolder, BulkPlan, Part
from gptapps.integrations.bulk_worker import run_here

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("gptapps.integrations.bulk_worker.pipeline", stub_pipeline)
    monkeypatch.setattr("gptapps.integrations.bulk_worker.model_identity", stub_identity)
    StubTask.seen.clear()
    yield
    StubTask.seen.clear()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three files of ten, three and one rows."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, count in (("a", 10), ("b", 3), ("雾", 1)):
        lines = (json.dumps({"text": f"{name} {row}", "id": row}) + "\n" for row in range(count))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def plan_of(files: Path, **changes: Any) -> BulkPlan:
    known: dict[str, Any] = {
        "task": "stub",
        "inputs": [str(files / "*.jsonl")],
        "output": files.parent / "out",
        "part_rows": 4,
    }
    return BulkPlan(**{**known, **changes})


def run(plan: BulkPlan, stop_after: int | None = None) -> list[Part]:
    """Do what isn't done, or some parts of it without making files whole; return those parts."""
    done = []
    with BulkFolder(plan) as folder:
        for part in run_here(plan, folder.remaining()):
            done.append(part)
            if len(done) == stop_after:
                return done
            folder.finish(part)
    return done


def texts(file: Path) -> list[str]:
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def test_each_file_gets_a_file_of_results_line_by_line(files: Path) -> None:
    assert len(run(plan_of(files))) == 3 + 1 + 1
    out = files.parent / "out"
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "a.jsonl",
        "b.jsonl",
        "雾.jsonl",
    ]
    assert texts(out / "a.jsonl") == [f"A {row}" for row in range(10)]
    assert texts(out / "雾.jsonl") == ["雾 0"]
    assert not [path for path in out.iterdir() if path.is_dir()]


def test_the_same_call_does_only_what_is_missing(files: Path) -> None:
    run(plan_of(files), stop_after=2)
    assert not (files.parent / "out" / "a.jsonl").exists()
    StubTask.seen.clear()
    assert [part.number for part in run(plan_of(files))] == [2, 0, 0]
    assert [text for text in StubTask.seen if text.startswith("a")] == ["a 8", "a 9"]
    assert texts(files.parent / "out" / "a.jsonl") == [f"A {row}" for row in range(10)]
    StubTask.seen.clear()
    assert run(plan_of(files)) == []
    assert StubTask.seen == []


def test_files_that_came_later_are_done_as_well(files: Path) -> None:
    run(plan_of(files))
    (files / "c.jsonl").write_text('{"text": "late"}\n', encoding="utf-8")
    StubTask.seen.clear()
    run(plan_of(files))
    assert StubTask.seen == ["late"]


def test_a_part_that_was_written_halfway_is_done_again(files: Path) -> None:
    (first, *_) = run(plan_of(files), stop_after=1)
    first.target.rename(first.target.with_name("000000.jsonl.123-4.unfinished"))
    run(plan_of(files))
    assert texts(files.parent / "out" / "a.jsonl") == [f"A {row}" for row in range(10)]
    assert [path.name for path in (files.parent / "out").iterdir() if path.is_dir()] == []


def test_a_bad_row_is_named_and_what_was_finished_before_it_is_kept(files: Path) -> None:
    with (files / "b.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "bad"}\n')
    with pytest.raises(DataError, match=r"b\.jsonl:4: An input is bad"):
        run(plan_of(files))
    assert len(texts(files.parent / "out" / "a.jsonl")) == 10


def test_killed_at_any_moment_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "killing_map.py"), str(tmp_path), "5"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) >= 3
    for number in range(3):
        assert texts(tmp_path / "out" / f"{number}.jsonl") == [f"ROW {number} {row}" for row in range(40)]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"task": "other"}, "task"), ({"options": {"labels": ["a", "b"]}}, "options"), ({"part_rows": 5}, "part_rows")],
)
def test_another_run_does_not_go_on_in_the_folder(files: Path, change: dict[str, Any], named: str) -> None:
    run(plan_of(files), stop_after=1)
    with pytest.raises(OptionError, match=f"differs from this one in {named}: name another folder"):
        run(plan_of(files, **change))


def test_another_model_of_the_same_name_does_not_go_on(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(plan_of(files), stop_after=1)
    monkeypatch.setattr(StubTask, "model", "two")
    with pytest.raises(OptionError, match="are of another model"):
        run(plan_of(files))


def test_options_that_decide_nothing_may_change(files: Path) -> None:
    run(plan_of(files), stop_after=1)
    run(plan_of(files, options={"batch_size": 3, "threads": 1}))
    assert len(texts(files.parent / "out" / "a.jsonl")) == 10


def test_a_file_that_changed_is_refused(files: Path) -> None:
    run(plan_of(files), stop_after=1)
    (files / "a.jsonl").write_text('{"text": "changed"}\n', encoding="utf-8")
    with pytest.raises(OptionError, match=r"differs from this one in a\.jsonl"):
        run(plan_of(files))


def test_results_of_somebody_else_are_not_taken_for_ones_own(files: Path) -> None:
    out = files.parent / "out"
    out.mkdir()
    (out / "b.jsonl").write_text("mine\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"holds 'b\.jsonl' already"):
        run(plan_of(files))
    assert (out / "b.jsonl").read_text() == "mine\n"


def test_one_process_at_a_time(files: Path) -> None:
    with BulkFolder(plan_of(files)), pytest.raises(ResourceError, match="Another process writes"):
        BulkFolder(plan_of(files))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"inputs": ["nowhere/*.jsonl"]}, DataError, "no file 'nowhere"),
        ({"part_rows": 0}, OptionError, "part_rows is 0"),
    ],
)
def test_a_plan_that_makes_no_sense(files: Path, change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BulkFolder(plan_of(files, **change))


def test_files_whose_results_would_be_one(files: Path) -> None:
    (files / "a.csv").write_text("text\nfog\n", encoding="utf-8")
    with pytest.raises(OptionError, match="give them different names"):
        BulkFolder(plan_of(files, inputs=[str(files / "a.*")]))
    with pytest.raises(OptionError, match="would take its place"):
        BulkFolder(plan_of(files, output=files))
    with pytest.raises(DataError, match=r"is a folder: name the files in it, such as"):
        BulkFolder(plan_of(files, inputs=[str(files)]))


def test_a_file_that_cannot_be_read_is_found_before_anything_is_done(files: Path) -> None:
    (files / "z.jsonl").write_text('{"text": "fine"}\n{"text":\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"z\.jsonl:2 is no JSON"):
        run(plan_of(files))
    assert StubTask.seen == []
