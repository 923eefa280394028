"""``gptapps map``: a task over many files, with a real if tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def texts(write: Write, tmp_path: Path) -> str:
    """A pattern for two files of texts."""
    (tmp_path / "data").mkdir()
    write("data/notes.csv", "text\nFog again\nClear skies\nRain later\n")
    write("data/报告.jsonl", '{"text": "今天有雾"}\n')
    return str(tmp_path / "data" / "*.*")


def test_results_are_those_of_the_task_itself(gptapps: Callable, texts: str, tmp_path: Path, tiny: str) -> None:
    task = ("classify", "--labels", "fog,sun", "-m", tiny)
    result = gptapps("map", *task, "--input", texts, "--output", tmp_path / "out", "--part-rows", "2")
    assert (result.code, result.err) == (0, "")
    assert result.lines == [f"{tmp_path / 'out' / 'notes.jsonl'}\t3", f"{tmp_path / 'out' / '报告.jsonl'}\t1"]
    alone = gptapps(*task, "--json", tmp_path / "data" / "notes.csv").lines
    mapped = (tmp_path / "out" / "notes.jsonl").read_text(encoding="utf-8").splitlines()
    for line, other in zip(mapped, alone, strict=True):
        one, same = json.loads(line), json.loads(other)
        assert one.pop("scores") == pytest.approx(same.pop("scores"), abs=1e-4)
        assert one.pop("score") == pytest.approx(same.pop("score"), abs=1e-4)
        assert one == same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "out"), "--input"),
        (("--input", "absent.txt", "--output", "out"), "There is no file 'absent.txt'"),
        (("--input", "a.txt", "--output", "out", "--workers", "2"), "--workers is of the engine ray"),
        (("--input", "a.txt", "--output", "out", "--labels", "one"), "at least 2"),
    ],
)
def test_mistakes(
    gptapps: Callable,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.txt", "Fog")
    result = gptapps("map", "classify", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_without_ray_its_engine_is_refused_in_a_sentence(
    gptapps: Callable, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    monkeypatch.setitem(__import__("sys").modules, "ray.data", None)
    result = gptapps(
        "map", "classify", "--input", write("a.txt", "Fog"), "--output", tmp_path / "out", "--engine", "ray"
    )
    assert result.code == 2
    assert "pip install 'gptapps[ray]'" in result.err
