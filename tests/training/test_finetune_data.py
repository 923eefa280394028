"""What ``finetune`` does with its data: what doesn't fit is told before the model, and validation stays as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from data_files import write_rows
from tiny_language_model import one_thread
from toy_labels import write_toy_rows

from gptapps import finetune
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError, OptionError
from gptapps.evaluation.selection import Item
from gptapps.training import run as training_run
from gptapps.training.head_method import FittedHead, HeadMethod
from gptapps.training.measuring import Measured
from gptapps.training.methods import Job

QUICK: dict[str, Any] = {"layers": [1], "penalties": [1.0], "poolings": ["mean"], "selection_folds": 2}
LONG = "It rained on the lake again, and again. " * 240  # more tokens than training takes unless told otherwise


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Use one thread."""
    with one_thread():
        yield


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a model is loaded."""

    def load(name: str, **options: Any) -> LanguageModel:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(LanguageModel, "load", load)


def summaries(folder: Path, summary: str) -> Path:
    rows = [{"text": f"It rained, day {number}.", "summaries": [f"Rain {number}."]} for number in range(9)]
    return write_rows(folder / "rows.jsonl", [*rows, {"text": "It rained.", "summaries": [summary]}])


@pytest.mark.parametrize(
    ("summary", "options", "limit"),
    [
        (LONG, {}, 2048),
        ("The lake rose by a hand. " * 50, {"max_length": 250}, 250),
    ],
)
@pytest.mark.parametrize("method", ["lora", "full", "prompt"])
@pytest.mark.usefixtures("unloaded")
def test_a_target_that_has_no_room_is_found_before_the_model_is_loaded(
    method: str,
    summary: str,
    options: dict[str, int],
    limit: int,
    tiny_base: LanguageModel,
    tmp_path: Path,
) -> None:
    call: dict[str, Any] = {"model": tiny_base.name, "method": method, "validation": None, **options}
    room = f"{limit - (20 if method == 'prompt' else 0):,}"
    with pytest.raises(DataError, match=rf"rows\.jsonl:10: prompt and target have more than {room} tokens even"):
        finetune("summarize", summaries(tmp_path, summary), output=tmp_path / "out", **call)
    assert not list(tmp_path.glob("out*"))


def test_output_without_room_for_a_prompt_is_refused_before_anything_is_learned(
    tiny_base: LanguageModel, tmp_path: Path
) -> None:
    call: dict[str, Any] = {"model": tiny_base, "method": "lora", "max_new_tokens": tiny_base.context_length}
    with pytest.raises(OptionError, match="tokens for prompt and output together: lower max_new_tokens"):
        finetune("summarize", summaries(tmp_path, "Rain."), output=tmp_path / "out", **call)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.usefixtures("unloaded")
def test_class_weights_of_a_task_without_labels_are_refused_before_the_model_is_loaded(
    tiny_base: LanguageModel, tmp_path: Path
) -> None:
    call: dict[str, Any] = {"model": tiny_base.name, "method": "lora", "class_weights": "balanced"}
    with pytest.raises(OptionError, match="Class weights are for labels, and here are none"):
        finetune("summarize", summaries(tmp_path, "Rain."), output=tmp_path / "out", **call)


@pytest.mark.parametrize("how", ["share", "file", "folds", "seeds"])
def test_augmentation_never_touches_validation(
    how: str, tiny_chat: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_toy_rows(tmp_path / "rows.jsonl", 40)
    other = write_toy_rows(tmp_path / "other.jsonl", 12, seed=7)
    options: dict[str, dict[str, Any]] = {
        "share": {"validation": 0.25},
        "file": {"validation": other},
        "folds": {"validation": None, "folds": 3},
        "seeds": {"validation": 0.25, "seeds": 2, "per_label": 6},
    }
    written = {json.loads(line)["text"] for file in (rows, other) for line in file.read_text().splitlines()}
    jobs: list[Job] = []
    measured: list[Sequence[Item]] = []
    fit, measure = HeadMethod.fit, training_run.measure

    def spying_fit(method: HeadMethod, job: Job) -> FittedHead:
        jobs.append(job)
        return fit(method, job)

    def spying_measure(pipeline: Any, data: Any, items: Sequence[Item], *, seed: int) -> Measured:
        measured.append(items)
        return measure(pipeline, data, items, seed=seed)

    monkeypatch.setattr(HeadMethod, "fit", spying_fit)
    monkeypatch.setattr(training_run, "measure", spying_measure)
    call: dict[str, Any] = {"model": tiny_chat, "augment": ["word_swap", "word_dropout"], "copies": 2, **QUICK}
    finetune("classify", rows, output=tmp_path / "out", **options[how], **call)
    assert len(jobs) == {"share": 1, "file": 1, "folds": 4, "seeds": 3}[how]
    for job in jobs:
        copies = [item for item in job.data.train if text_of(item) not in written]
        assert len(copies) > len(job.data.train) / 2
        assert all(text_of(item) in written for item in job.data.validation)
        assert not {item.where for item in job.data.train} & {item.where for item in job.data.validation}
    assert any(measured)
    assert all(text_of(item) in written for items in measured for item in items)


def text_of(item: Item) -> str:
    return str(item.example.text)  # type: ignore[attr-defined]
