"""From rows to examples, and which of them are taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.datasets import Row, read_rows
from gptapps.errors import DataError, OptionError
from gptapps.evaluation.evaluators import (
    AnswerEvaluator,
    ChoiceEvaluator,
    ClassificationEvaluator,
    Evaluator,
    ScoringEvaluator,
    SummarizationEvaluator,
    TranslationEvaluator,
)
from gptapps.evaluation.preparations import joined_articles
from gptapps.evaluation.selection import (
    Reading,
    RowChecker,
    checked_reading,
    choose,
    draw_shots,
    labels_in,
    read_source,
)


def checker(evaluator: Evaluator, reading: Reading, labels: tuple[str, ...] = (), **options: Any) -> RowChecker:
    return RowChecker(evaluator, evaluator.example_type.model_validate, reading, labels, **options)


def example(evaluator: Evaluator, fields: Mapping[str, object], **reading: Any) -> Any:
    (item,) = checker(evaluator, Reading(**reading), ("a", "b")).items([(7, Row(fields, "data:8"))])
    assert (item.index, item.where) == (7, "data:8")
    return item.example


@given(st.integers(1, 50), st.none() | st.integers(1, 60), st.sampled_from(["first", "random"]), st.integers(0, 5))
def test_chosen_rows_are_in_order_and_as_many_as_asked(count: int, limit: int | None, how: Any, seed: int) -> None:
    taken = choose(count, limit, how, seed)
    assert taken == sorted(set(taken))
    assert set(taken) <= set(range(count))
    assert len(taken) == min(count, limit or count)
    assert how == "random" or taken == list(range(len(taken)))
    assert taken == choose(count, limit, how, seed)


def test_another_seed_draws_others() -> None:
    assert choose(100, 10, "random", 0) != choose(100, 10, "random", 1)


@pytest.mark.parametrize(
    "answers",
    [
        ["one", "two"],
        {"text": ["one", "two"], "answer_start": [0, 4]},
        ("one", "two"),
    ],
    ids=["list", "squad", "tuple"],
)
def test_answers_come_in_several_layouts(answers: object) -> None:
    fields = {"question": "Which?", "context": "one two", "answers": answers}
    assert example(AnswerEvaluator(), fields).answers == ("one", "two")


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"question": "Which?", "choices": ["red", "blue"], "answer": 1}, {}),
        (
            {"question": "Which?", "choices": {"text": ["red", "blue"], "label": ["1", "2"]}, "answerKey": "2"},
            {"answer": "answerKey"},
        ),
        (
            {"question_stem": "Which?", "choices": {"text": ["red", "blue"], "label": ["A", "B"]}, "answerKey": " B"},
            {"question": "question_stem", "answer": "answerKey"},
        ),
        (
            {
                "question": {
                    "stem": "Which?",
                    "choices": [{"text": "red", "label": "A"}, {"text": "blue", "label": "B"}],
                },
                "answerKey": "B",
            },
            {"question": "question.stem", "choices": "question.choices", "answer": "answerKey"},
        ),
        ({"question": "Which?", "choices": ["red", "blue", "red"], "answer": "B"}, {}),
    ],
    ids=["copy", "arc", "openbookqa", "original", "repeated"],
)
def test_choices_come_in_the_layouts_of_their_sets(row: Mapping[str, object], columns: Mapping[str, str]) -> None:
    read = example(ChoiceEvaluator(), row, columns=columns)
    assert (read.question, read.choices, read.answer) == ("Which?", ("red", "blue"), "blue")
    assert ChoiceEvaluator().gold(read) == "blue"


def test_a_row_whose_answer_is_none_of_its_choices_is_named() -> None:
    with pytest.raises(DataError, match=r"data:8: The answer 'E' is none of the choices"):
        example(ChoiceEvaluator(), {"question": "Which?", "choices": ["red", "blue"], "answer": "E"})
    with pytest.raises(DataError, match=r"data:8: The question has fewer than two choices"):
        example(ChoiceEvaluator(), {"question": "Which?", "choices": ["red", "red"], "answer": "red"})


def test_rows_without_choices_get_those_of_the_options() -> None:
    rows = [(0, Row({"question": "Is it?", "answer": "no"}, "data:1"))]
    (item,) = checker(ChoiceEvaluator(), Reading(), ("yes", "no")).items(rows)
    assert getattr(item.example, "choices", None) == ("yes", "no")


def test_one_text_is_one_reference() -> None:
    assert example(SummarizationEvaluator(), {"text": "Long.", "summaries": "Short."}).summaries == ("Short.",)


def test_a_text_kept_as_sentences_is_joined() -> None:
    fields = {"text": ["It rained.", "We left."], "summaries": ["Rain."]}
    assert example(SummarizationEvaluator(), fields).text == "It rained. We left."


@pytest.mark.parametrize(("label", "expected"), [(1, "b"), (0, "a"), ("1", "b"), (True, "b"), (False, "a")])
def test_labels_are_renamed_whatever_they_are(label: object, expected: str) -> None:
    names = {"0": "a", "1": "b", "True": "b", "False": "a"}
    assert example(ClassificationEvaluator(), {"text": "x", "label": label}, label_names=names).label == expected


def test_a_label_nobody_named_is_refused() -> None:
    with pytest.raises(DataError, match=r"data:8 has the label '2', which label_names doesn't name"):
        example(ClassificationEvaluator(), {"text": "x", "label": 2}, label_names={"0": "a"})


def test_a_column_given_to_another_field_is_not_read_twice() -> None:
    columns = {"text": "source", "translations": "target"}
    fields = {"source": "Good morning.", "target": "Bonjour."}
    read = example(TranslationEvaluator(), fields, columns=columns)
    assert (read.text, read.translations, read.source, read.target) == ("Good morning.", ("Bonjour.",), None, None)


def test_a_nested_column_is_reached_with_a_dot() -> None:
    columns = {"text": "translation.en", "translations": "translation.fr"}
    fields = {"translation": {"en": "Good morning.", "fr": "Bonjour."}}
    assert example(TranslationEvaluator(), fields, columns=columns).translations == ("Bonjour.",)


def test_a_rows_language_counts_unless_the_caller_named_one() -> None:
    row = (0, Row({"text": "x", "label": "a", "language": "zh"}, "data:1"))
    evaluator, labels = ClassificationEvaluator(), ("a",)
    (own,) = checker(evaluator, Reading(), labels).items([row])
    (named,) = checker(evaluator, Reading(), labels, keep_language=False).items([row])
    assert (own.example.language, named.example.language) == ("zh", None)


def test_rows_are_kept_by_value_and_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label,split\none,b,dev\ntwo,a,test\nthree,c,dev\n", "utf-8")
    source = read_source(file, Reading(where={"split": "dev"}))
    assert [number for number, _ in source.rows] == [0, 2]
    assert labels_in(source, Reading(), ClassificationEvaluator()) == ("b", "c")
    assert source.name == "a.csv"
    assert source.sha256 == read_source(file, Reading()).sha256


def test_separators_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": " "}\n{"text": "Words."}\n{"text": ""}\n', "utf-8")
    source = read_source(file, Reading(prepare="skip_empty"))
    assert [row.fields["text"] for _, row in source.rows] == ["Words."]


def test_lines_become_articles_that_are_read_from_where_they_begin(tmp_path: Path) -> None:
    lines = [
        "Before any title . \n", "",
        " = Boats = \n", "", " They float . \n", "", " = = Sails = = \n", "", " Of cloth . \n",
        " = no title = \n", " as no line around it is empty . \n", "",
        " = Ships = \n", "", " They sail . \n",
    ]  # fmt: skip
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"line": line}) + "\n" for line in lines), "utf-8")
    source = read_source(file, Reading(prepare="articles", columns={"text": "line"}))
    assert [(number, row.fields["line"][:12], row.where) for number, row in source.rows] == [
        (0, "Before any t", f"{file}:1"),
        (1, " \n = Boats =", f"{file}:2"),
        (2, " \n = Ships =", f"{file}:12"),
    ]
    whole = "".join(str(row.fields["line"]) for _, row in source.rows)
    assert whole == "".join(line or " \n" for line in lines)


@pytest.mark.data
@pytest.mark.parametrize("split", ["validation", "test"])
def test_lines_as_the_hub_has_them_become_the_articles_that_the_copy_has(split: str, data_root: Path) -> None:
    articles = [str(row.fields["text"]) for row in read_rows(data_root / "lm" / "wikitext2" / f"{split}.jsonl")]
    lines = "".join(articles).split("\n")[:-1]
    rows = [Row({"text": f"{line}\n" if line.strip() else ""}, f"{split}:{n}") for n, line in enumerate(lines, 1)]
    assert [row.fields["text"] for row in joined_articles(rows, "text")] == articles


def test_a_shot_without_an_answer_is_refused_with_its_place() -> None:
    row = (0, Row({"question": "Which?", "context": "None.", "answers": []}, "data:1"))
    items = checker(AnswerEvaluator(), Reading()).items([row])
    with pytest.raises(DataError, match=r"data:1: it holds no answer"):
        draw_shots(AnswerEvaluator(), items, {}, "answer")


def test_shots_of_every_family() -> None:
    pair = example(ClassificationEvaluator(), {"text": "x", "text_pair": "y", "label": "a"})
    assert ClassificationEvaluator().shot(pair, {}) == {"text": "x", "text_pair": "y", "label": "a"}
    fields = {"question": "Which?", "choices": ["red", "blue"], "answer": 0, "context": "Red."}
    choice = example(ChoiceEvaluator(), fields)
    assert ChoiceEvaluator().shot(choice, {}) == {"question": "Which?", "context": "Red.", "answer": "red"}
    sentence = example(TranslationEvaluator(), {"text": "Yes.", "translations": ["Oui."], "target": "fr"})
    assert TranslationEvaluator().shot(sentence, {"source": "en"}) == {"en": "Yes.", "fr": "Oui."}
    summary = example(SummarizationEvaluator(), {"text": "Long.", "summaries": ["Short."]})
    assert SummarizationEvaluator().shot(summary, {}) == {"text": "Long.", "summary": "Short."}
    text = example(ScoringEvaluator(), {"text": "x"})
    with pytest.raises(OptionError, match="leave shots out"):
        ScoringEvaluator().shot(text, {})


def test_names_for_labels_are_refused_where_there_are_none() -> None:
    with pytest.raises(OptionError, match="this task has none"):
        checked_reading(None, None, {"0": "a"}, None, SummarizationEvaluator())
