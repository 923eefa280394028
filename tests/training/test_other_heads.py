"""Heads that answer from a context, and heads that choose: trained, served, evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_language_model import one_thread

from gptapps import evaluate, finetune, pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError, OptionError, TaskDefinitionError
from gptapps.examples import ChoiceExample
from gptapps.task_catalog import resolve_task
from gptapps.task_definition import task_definition_toml

NAMES = ["Ada", "Bruno", "Clara", "Dario", "Elif", "Fatou", "Goran", "Hanna"]
QUICK: dict[str, Any] = {"layers": [1, 2], "penalties": [0.01, 0.1, 1.0], "selection_folds": 2}


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Use one thread."""
    with one_thread():
        yield


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def questions(first: int, count: int) -> list[dict[str, Any]]:
    """Rows whose answer stands behind the same words."""
    rows = []
    for number in range(first, first + count):
        name = NAMES[number % 8]
        context = f"On day {number} it rained. The letter was written by {name} before noon."
        rows.append({"question": "Who wrote it?", "context": context, "answers": [name]})
    return rows


def test_a_span_head_finds_answers(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    rows = written(tmp_path / "train.jsonl", questions(0, 64))
    report = finetune("answer", rows, model=tiny_chat, output=tmp_path / "head", validation=0.2, **QUICK)
    assert report.score("exact_match").value >= 0.8
    assert report.details["examples"] == report.examples["train"] == 51
    answer = pipeline("answer", model=tmp_path / "head")
    context = "On day 99 it rained. The letter was written by Hanna before noon."
    output = answer(question="Who wrote it?", context=context)
    assert output.text == context[output.start : output.end] == "Hanna"
    assert 0 < output.score <= 1
    data = written(tmp_path / "test.jsonl", questions(50, 8))
    scores = evaluate("answer", data, model=tmp_path / "head", output=tmp_path / "run", baselines=())
    assert scores.score("token_f1").value >= 0.8


def test_a_long_context_is_read_in_windows(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    rows = written(tmp_path / "train.jsonl", questions(0, 24))
    finetune("answer", rows, model=tiny_chat, output=tmp_path / "head", validation=None, **QUICK)
    answer = pipeline("answer", model=tmp_path / "head")
    context = "It rained again. " * 1200 + "The letter was written by Hanna before noon. " + "It rained again. " * 200
    output = answer(question="Who wrote it?", context=context)
    assert output.usage.chunks > 1
    assert output.text == context[output.start : output.end]
    with pytest.raises(DataError, match="tokens"):
        answer(question="Who wrote it?", context=context, overflow="error")


def test_answers_that_stand_nowhere_are_left_out_and_counted(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    rows = questions(0, 20)
    rows[3]["answers"] = ["Zoltan"]
    data = written(tmp_path / "train.jsonl", rows)
    report = finetune("answer", data, model=tiny_chat, output=tmp_path / "head", validation=None, **QUICK)
    assert report.details["without_answer_in_context"] == 1
    with pytest.raises(OptionError, match="there are no poolings"):
        finetune("answer", data, model=tiny_chat, output=tmp_path / "other", poolings=["last"])
    with pytest.raises(OptionError, match="Class weights are for labels"):
        finetune("answer", data, model=tiny_chat, output=tmp_path / "third", class_weights="balanced")


def test_a_context_before_the_question_is_refused(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    definition = resolve_task("answer")
    backwards = definition.prompts["en"].model_copy(update={"plain": "{{ context }}\n{{ question }}"})
    task = tmp_path / "backwards.toml"
    task.write_text(task_definition_toml(definition.model_copy(update={"prompts": {"en": backwards}, "shots": ()})))
    rows = written(tmp_path / "train.jsonl", questions(0, 10))
    with pytest.raises(TaskDefinitionError, match="doesn't show the question before the context"):
        finetune(str(task), rows, model=tiny_chat, output=tmp_path / "head", **QUICK)


def choices(first: int, count: int) -> list[dict[str, Any]]:
    """Rows whose right choice is an animal."""
    animals, things = ["goose", "horse", "rabbit", "whale"], ["spoon", "pillow", "kettle", "ladder", "hammer"]
    rows = []
    for number in range(first, first + count):
        right = f"the {animals[number % 4]}"
        others = [f"the {things[(number + step) % 5]}" for step in range(2 + number % 2)]
        given = [*others[:1], right, *others[1:]] if number % 3 else [right, *others]
        rows.append({"question": f"Case {number}: which of them sleeps?", "choices": given, "answer": right})
    return rows


def test_a_head_chooses_among_any_number(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    rows = written(tmp_path / "train.jsonl", choices(0, 40))
    report = finetune("choose", rows, model=tiny_chat, output=tmp_path / "head", validation=0.2, **QUICK)
    assert report.score("accuracy").value >= 0.8
    assert report.score("accuracy_norm").value == report.score("accuracy").value  # a head has nothing to normalise
    choose = pipeline("choose", model=tmp_path / "head")
    example = ChoiceExample(question="Which of them sleeps?", choices=("the ladder", "the spoon", "the whale"))
    output = choose(example)
    assert (output.index, output.text, output.log_likelihoods) == (2, "the whale", {})
    assert sum(output.scores.values()) == pytest.approx(1)
    several = choose([example, ChoiceExample(question="Which of them sleeps?", choices=("the goose", "the kettle"))])
    assert [one.text for one in several] == ["the whale", "the goose"]
    assert several[0].scores == pytest.approx(output.scores, abs=1e-4)
    with pytest.raises(DataError, match="two choices or more"):
        choose("Which of them sleeps?")
