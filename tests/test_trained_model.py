"""Trained folders: there whole or not at all, and one sentence where something about them is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.cache_files import new_folder
from gptapps.errors import CheckpointError, ModelNotFoundError
from gptapps.task_catalog import resolve_task, tasks
from gptapps.task_definition import TaskDefinition, load_task_definition, task_definition_toml
from gptapps.trained_model import Base, TrainedModel, is_trained_model, read_trained_model, write_mark

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def write(folder: Path) -> TrainedModel:
    """Write a folder with one file that predicts."""
    folder.mkdir(exist_ok=True)
    (folder / "head.safetensors").write_bytes(b"weights")
    return write_mark(
        folder,
        method="head",
        base=Base("some-model", "abc", "file"),
        definition=resolve_task("sentiment"),
        settings={"layers": [3]},
        predicting=["head.safetensors"],
        versions={"gptapps": "1"},
    )


def test_a_folder_says_what_was_written(tmp_path: Path) -> None:
    written = write(tmp_path / "model")
    read = read_trained_model(tmp_path / "model")
    assert read == written
    assert (read.method, read.base, read.labels) == (
        "head",
        Base("some-model", "abc", "file"),
        ("negative", "positive"),
    )
    assert read.definition.id == "sentiment"
    assert is_trained_model(tmp_path / "model")
    assert not is_trained_model(tmp_path)


def test_the_checksum_depends_on_what_predicts(tmp_path: Path) -> None:
    first = write(tmp_path / "one").sha256
    assert write(tmp_path / "two").sha256 == first
    mark = tmp_path / "two" / "gptapps.json"
    mark.write_text(mark.read_text().replace('"abc"', '"abd"'))
    assert read_trained_model(tmp_path / "two").sha256 != first


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("gptapps.json", "{", r"gptapps.json can't be read .*: train again, or restore the folder"),
        ("gptapps.json", '{"schema_version": 2}', "has the schema version 2, and this release of gptapps reads 1"),
        ("gptapps.json", '{"schema_version": 1}', "is damaged at 'method'"),
        ("head.safetensors", "other", "head.safetensors isn't the file that training wrote"),
        ("task.toml", "schema_version = 1", "task.toml isn't the file that training wrote"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, file: str, content: str, message: str) -> None:
    write(tmp_path / "model")
    (tmp_path / "model" / file).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_trained_model(tmp_path / "model")


def test_a_folder_that_no_training_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="holds no trained model"):
        read_trained_model(tmp_path)


def test_a_new_folder_appears_at_the_end_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with new_folder(target) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "file").write_text("all of it")
        assert not target.exists()
    assert (target / "part" / "file").read_text() == "all of it"

    def fail_half_way() -> None:
        with new_folder(tmp_path / "other") as folder:
            (folder / "file").write_text("half of it")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_kill_left_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / ".model.unfinished"
    left.mkdir()
    (left / "stale").write_text("")
    with new_folder(tmp_path / "model") as folder:
        (folder / "file").write_text("new")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["file"]
    assert not left.exists()


@pytest.mark.parametrize("definition", tasks(), ids=lambda definition: definition.id)
def test_every_definition_is_written_as_it_is_read(definition: TaskDefinition, tmp_path: Path) -> None:
    path = tmp_path / f"{definition.id}.toml"
    path.write_text(task_definition_toml(definition), encoding="utf-8")
    assert load_task_definition(path).model_copy(update={"origin": definition.origin}) == definition


@given(labels=st.lists(TEXTS, min_size=2, max_size=4, unique=True), summary=TEXTS)
def test_any_text_survives(labels: list[str], summary: str, tmp_path: Path) -> None:
    words = {"zh": {label: f"字{number}" for number, label in enumerate(labels)}}
    change = {"labels": tuple(labels), "summary": summary, "label_words": words, "shots": ()}
    definition = resolve_task("sentiment").model_copy(update=change)
    path = tmp_path / "sentiment.toml"
    path.write_text(task_definition_toml(definition), encoding="utf-8", newline="")
    assert load_task_definition(path).model_copy(update={"origin": definition.origin}) == definition


def test_the_mark_is_plain_json(tmp_path: Path) -> None:
    write(tmp_path / "model")
    said = json.loads((tmp_path / "model" / "gptapps.json").read_text())
    assert said["base"] == {"name": "some-model", "sha256": "abc", "of": "file"}
    assert set(said["files"]) == {"task.toml", "head.safetensors"}
