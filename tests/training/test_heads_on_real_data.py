"""Heads that answer and heads that choose, learned from real rows."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_files import write_rows
from tiny_language_model import one_thread

from gptapps import finetune, pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.examples import ChoiceExample, QuestionExample

pytestmark = pytest.mark.data
QUICK: dict[str, Any] = {"layers": [1, 2], "penalties": [0.1, 1.0], "selection_folds": 2}
CHOICES = {
    "commonsense_qa": ("qa/commonsense_qa/train.jsonl", "qa/commonsense_qa/validation.jsonl"),
    "arc_easy": ("qa/arc_easy/test.jsonl", None),
    "openbookqa": ("qa/openbookqa/test.jsonl", None),
}


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Use one thread."""
    with one_thread():
        yield


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_article(data_root: Path, counts: tuple[int, int], longest: int, folder: Path) -> tuple[Path, Path]:
    """Write questions of SQuAD, none of whose articles is in both files."""
    rows = rows_of(data_root / "qa" / "squad_v1" / "validation.jsonl")
    articles = [list(group) for _, group in itertools.groupby(rows, key=lambda row: row["title"])]
    random.Random(0).shuffle(articles)
    half = len(articles) // 2
    parts = []
    for some, count in ((articles[:half], counts[0]), (articles[half:], counts[1])):
        fitting = [row for article in some for row in article if len(row["context"]) < longest]
        parts.append(random.Random(1).sample(fitting, count))
    return write_rows(folder / "train.jsonl", parts[0]), write_rows(folder / "test.jsonl", parts[1])


def some_choices(data_root: Path, name: str, counts: tuple[int, int], folder: Path) -> tuple[Path, Path]:
    """Write questions with choices, none in both files."""
    learnt, tried = CHOICES[name]
    rows = random.Random(0).sample(rows_of(data_root / learnt), sum(counts))
    test = rows[counts[0] :] if tried is None else rows_of(data_root / tried)[: counts[1]]
    return write_rows(folder / "train.jsonl", rows[: counts[0]]), write_rows(folder / "test.jsonl", test)


def test_answers_of_real_questions_are_stretches_of_their_contexts(
    data_root: Path, tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    train, test = by_article(data_root, (200, 60), 900, tmp_path)
    report = finetune("answer", train, validation=test, model=tiny_chat, output=tmp_path / "head", **QUICK)
    assert report.details["examples"] == 200
    assert report.score("exact_match").n == 60
    answer = pipeline("answer", model=tmp_path / "head")
    asked = [QuestionExample(question=row["question"], context=row["context"]) for row in rows_of(test)]
    for example, output in zip(asked, answer(asked), strict=True):
        assert output.text == example.context[output.start : output.end] == output.text.strip() != ""


@pytest.mark.parametrize("name", CHOICES)
def test_real_questions_with_any_number_of_choices(
    name: str, data_root: Path, tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    train, test = some_choices(data_root, name, (200, 60), tmp_path)
    report = finetune("choose", train, validation=test, model=tiny_chat, output=tmp_path / "head", **QUICK)
    assert report.details["examples"] == 200
    row = rows_of(test)[0]
    output = pipeline("choose", model=tmp_path / "head")(
        ChoiceExample(question=row["question"], choices=tuple(row["choices"]))
    )
    assert output.text == row["choices"][output.index]


@pytest.mark.slow
def test_heads_on_the_default_model_beat_what_needs_no_model(
    data_root: Path, default_model: LanguageModel, tmp_path: Path
) -> None:
    for name in CHOICES:
        train, test = some_choices(data_root, name, (200, 200), tmp_path)
        report = finetune("choose", train, validation=test, model=default_model, output=tmp_path / name)
        baselines = (report.measured.baselines or {}).values()
        assert report.score("accuracy").value > max(scores[0].value for scores in baselines), name
    train, test = by_article(data_root, (200, 100), 900, tmp_path)
    report = finetune("answer", train, validation=test, model=default_model, output=tmp_path / "answer")
    baselines = (report.measured.baselines or {}).values()
    assert report.score("exact_match").value > max(scores[0].value for scores in baselines)
