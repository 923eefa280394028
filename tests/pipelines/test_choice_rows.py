"""Rows of multiple choice come in several layouts, and say in several ways which choice is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError
from gptapps.pipelines.choice_rows import choice_fields

CHOICES = st.lists(st.text("abcxyz 123", min_size=2, max_size=6).filter(str.strip), min_size=2, max_size=6).filter(
    lambda choices: len({choice.strip() for choice in choices}) == len(choices)
)


@given(CHOICES, st.data(), st.sampled_from(["ABCDEF", "123456"]))
def test_every_way_to_name_a_choice_names_it(choices: list[str], data: st.DataObject, keys: str) -> None:
    place = data.draw(st.integers(0, len(choices) - 1))
    labels = list(keys[: len(choices)])
    pairs = [{"text": choice, "label": label} for choice, label in zip(choices, labels, strict=True)]
    ways: list[tuple[object, object]] = [
        (choices, choices[place]),
        (choices, place),
        ({"text": choices, "label": labels}, labels[place]),
        ({"text": choices, "label": labels}, f" {labels[place]}"),
        (pairs, labels[place]),
        (pairs, place),
        (choices, "ABCDEF"[place]),
    ]
    for given_choices, answer in ways:
        fields = choice_fields({"question": "Which?", "choices": given_choices, "answer": answer})
        assert fields == {"question": "Which?", "choices": tuple(choices), "answer": choices[place]}


@pytest.mark.parametrize(
    ("choices", "answer", "expected"),
    [
        (["3", "4", "1"], "1", "1"),  # a text before a number
        (["3", "4", "1"], 1, "4"),
        (["red", "green"], "1", "green"),
        (["no", "yes"], True, "yes"),
        (["no", "yes"], False, "no"),
        ({"text": ["2", "1"], "label": ["1", "2"]}, "1", "2"),  # a key before a text
        ({"text": ["red", "green"], "label": ["A", "B"]}, "green", "green"),
        (["B", "A"], "A", "A"),
        ([" red ", "green"], "red", " red "),
    ],
)
def test_what_is_meant_where_it_could_be_several_things(choices: Any, answer: object, expected: str) -> None:
    assert choice_fields({"choices": choices, "answer": answer})["answer"] == expected


@pytest.mark.parametrize(
    ("choices", "answer", "message"),
    [
        (
            ["red", "green"],
            "gren",
            "The answer 'gren' is none of the choices. Did you mean 'green'? Give a choice's text",
        ),
        (["red", "green"], 2, "The answer 2 is none of the choices"),
        (["red", "green"], -1, "The answer -1 is none of the choices"),
        (["red", "green"], "C", "The answer 'C' is none of the choices"),
        (["red", "green"], 0.5, "The answer 0.5 is none of the choices"),
        ({"text": ["red", "green"], "label": ["A", "B"]}, "1", "Give a choice's key; there are: A, B."),
        ({"text": ["red", "green"], "label": ["1", "2"]}, "0", "The answer '0' is none of the choices"),
        ({"text": ["red", "green"]}, "A", "have to be a list of texts, or of texts with their keys"),
        ([{"text": "red"}, {"text": "green"}], "A", "have to be a list of texts"),
        (7, "A", "have to be a list of texts"),
    ],
)
def test_an_answer_that_is_none_of_the_choices_is_one_sentence(choices: Any, answer: object, message: str) -> None:
    with pytest.raises(DataError) as error:
        choice_fields({"choices": choices, "answer": answer})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_row_without_choices_gets_those_of_the_options() -> None:
    row = {"question": "Is it?", "answer": "yes"}
    assert choice_fields(row, ["no", "yes"]) == {**row, "choices": ("no", "yes")}
    assert choice_fields({"question": "Is it?"}) == {"question": "Is it?", "choices": ()}


@pytest.mark.data
@pytest.mark.parametrize("name", ["arc_easy/test", "openbookqa/test", "commonsense_qa/validation"])
def test_rows_of_real_sets_have_their_answer_among_the_choices(name: str, data_root: Path) -> None:
    lines = (data_root / "qa" / f"{name}.jsonl").read_text("utf-8").splitlines()
    for row in map(json.loads, lines):
        keys = list("ABCDE")[: len(row["choices"])]
        as_on_the_hub = {
            **row,
            "choices": {"text": row["choices"], "label": keys},
            "answer": keys[row["answer"]],
        }
        ours = choice_fields(row)
        assert ours["answer"] == row["choices"][row["answer"]]
        assert choice_fields(as_on_the_hub) == ours
