"""What is read and what is learned of each family's examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from data_files import write_rows
from toy_training import job

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError
from gptapps.pipelines.writing import encode_prompt
from gptapps.training.data import DataPlan, read_training_data
from gptapps.training.lessons import Lesson, LessonMaker

LONG = "A sentence about nothing in particular. " * 60


def lessons(
    folder: Path, model: LanguageModel, task: str, row: Mapping[str, Any], limit: int = 100_000, **options: Any
) -> tuple[Lesson, ...]:
    data = read_training_data(
        DataPlan(task=task, train=write_rows(folder / "rows.jsonl", [row]), validation=None, options=options)
    )
    made = job(data, model, folder)
    return LessonMaker(made.pipeline, data.evaluator, data.options, limit=limit).lessons(data.train)


def said(model: LanguageModel, ids: tuple[int, ...]) -> str:
    return model.tokenizer.decode(ids, skip_special_tokens=True)


ANSWER = {"question": "Who wrote it?", "context": "Ada Lovelace wrote it in spring.", "answers": ["Ada Lovelace"]}
CHOICE = {"question": "Which planet is red?", "choices": ["Venus", "Mars"], "answer": "Mars"}
SUMMARY = {"text": "It rained all day, and the lake rose by a hand.", "summaries": ["The lake rose."]}
INSTRUCTION = {"text": "Name what floats on water.", "completions": ["Cork floats."]}
TRANSLATION = {"text": "Good morning.", "source": "en", "target": "fr", "translations": ["Bonjour."]}


@pytest.mark.parametrize(
    ("task", "row", "target"),
    [
        ("sentiment", {"text": "What a day!", "label": "positive"}, "positive"),
        ("answer", ANSWER, "Ada Lovelace"),
        ("choose", CHOICE, "Mars"),
        ("summarize", SUMMARY, "The lake rose."),
        ("translate", TRANSLATION, "Bonjour."),
        ("generate", INSTRUCTION, "Cork floats."),
    ],
)
@pytest.mark.parametrize("kind", ["tiny_chat", "tiny_base"])
def test_the_target_is_what_should_be_said(
    kind: str, task: str, row: dict[str, Any], target: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    (lesson,) = lessons(tmp_path, model, task, row)
    assert said(model, lesson.target).strip() == target
    ends = lesson.target[-1] in model.tokenizer.eos_ids
    assert ends is (task in ("answer", "summarize", "translate", "generate"))  # what is scored as a whole needs no end


@pytest.mark.parametrize("task", ["summarize", "answer", "generate"])
def test_the_prompt_is_the_one_of_predicting(task: str, tiny_chat: LanguageModel, tmp_path: Path) -> None:
    row = {"summarize": SUMMARY, "answer": ANSWER, "generate": INSTRUCTION}[task]
    (lesson,) = lessons(tmp_path, tiny_chat, task, row)
    data = read_training_data(DataPlan(task=task, train=tmp_path / "rows.jsonl", validation=None))
    made = job(data, tiny_chat, tmp_path)
    adapter = made.pipeline.adapter("en", data.options)
    names = data.task.family.required + data.task.family.optional
    fields = {name: row.get(name, data.options.get(name)) for name in names}
    assert lesson.prompt == encode_prompt(tiny_chat, adapter.render(fields))


@pytest.mark.parametrize(
    ("labels", "targets"), [(["delay", "noise"], ["delay", "noise"]), (["noise"], ["noise"]), ([], ["none"])]
)
def test_several_labels_share_a_text_and_none_is_learned_too(
    labels: list[str], targets: list[str], tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    known = ["delay", "comfort", "noise"]
    made = lessons(tmp_path, tiny_chat, "tag", {"text": "Two hours late.", "label": labels}, labels=known)
    assert [said(tiny_chat, lesson.target).strip() for lesson in made] == targets
    assert {lesson.weight for lesson in made} == {1 / len(targets)}
    assert len({lesson.prompt for lesson in made}) == 1


def test_a_label_called_none_is_one_like_the_others(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    labels = ["none", "noise"]
    for given in (["none"], []):
        (lesson,) = lessons(tmp_path, tiny_chat, "tag", {"text": "Fine.", "label": given}, labels=labels)
        assert said(tiny_chat, lesson.target).strip() == "none"


def test_a_label_is_learned_where_labels_differ(tiny_base: LanguageModel, tmp_path: Path) -> None:
    (lesson,) = lessons(tmp_path, tiny_base, "classify", {"text": "x", "label": "New York"}, labels=["New", "New York"])
    assert said(tiny_base, lesson.target) == " York"
    assert said(tiny_base, lesson.prompt).endswith(" New")


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("sentiment", {"text": LONG, "label": "positive"}),
        ("summarize", SUMMARY | {"text": LONG}),
        ("choose", CHOICE | {"context": LONG}),
    ],
)
def test_a_long_prompt_is_cut_and_its_target_is_not(
    task: str, row: dict[str, Any], tiny_base: LanguageModel, tmp_path: Path
) -> None:
    (whole,) = lessons(tmp_path, tiny_base, task, row | {"text": "x"} if "text" in row else row | {"context": "x"})
    (cut,) = lessons(tmp_path, tiny_base, task, row, limit=150)
    assert cut.target == whole.target
    assert 140 < len(cut.prompt) + len(cut.target) <= 150


def test_of_a_long_text_to_continue_the_end_is_kept(tiny_base: LanguageModel, tmp_path: Path) -> None:
    row = {"text": f"Begin. {LONG}What floats?", "completions": ["Cork."]}
    (lesson,) = lessons(tmp_path, tiny_base, "generate", row, limit=60)
    assert said(tiny_base, lesson.prompt).endswith("What floats?")
    assert len(lesson.prompt) + len(lesson.target) <= 60


def test_an_answer_is_learned_from_the_window_that_holds_it(tiny_base: LanguageModel, tmp_path: Path) -> None:
    row = ANSWER | {"context": LONG + ANSWER["context"] + LONG}
    (lesson,) = lessons(tmp_path, tiny_base, "answer", row, limit=400)
    assert "Ada Lovelace wrote it" in said(tiny_base, lesson.prompt)
    assert len(lesson.prompt) + len(lesson.target) <= 400


def test_a_target_without_room_is_refused_by_its_line(tiny_base: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows.jsonl:1: the target has \d+ tokens.*max_length"):
        lessons(tmp_path, tiny_base, "summarize", SUMMARY | {"summaries": [LONG]}, limit=50)


def test_answers_that_stand_nowhere_teach_nothing(tiny_base: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Nothing is left to learn"):
        lessons(tmp_path, tiny_base, "answer", ANSWER | {"answers": ["Grace Hopper"]})


@pytest.mark.parametrize(
    ("task", "row", "target"),
    [
        ("answer", ANSWER | {"answers": ["", "Ada Lovelace"]}, "Ada Lovelace"),
        ("generate", INSTRUCTION | {"completions": ["", "Cork floats."]}, "Cork floats."),
    ],
)
def test_an_empty_one_of_several_is_not_what_is_learned(
    task: str, row: dict[str, Any], target: str, tiny_base: LanguageModel, tmp_path: Path
) -> None:
    (lesson,) = lessons(tmp_path, tiny_base, task, row)
    assert said(tiny_base, lesson.target).strip() == target


def test_plain_text_is_learned_behind_its_context(tiny_base: LanguageModel, tmp_path: Path) -> None:
    row = {"context": "Once upon a time", "text": " there was a mill."}
    (lesson,) = lessons(tmp_path, tiny_base, "score", row)
    assert said(tiny_base, lesson.target) == row["text"]
    assert said(tiny_base, lesson.prompt) == row["context"]
    pieces = lessons(tmp_path, tiny_base, "score", {"text": LONG}, limit=64)
    assert said(tiny_base, tuple(token for piece in pieces for token in piece.target)) == LONG
