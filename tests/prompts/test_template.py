"""A template shows every variable it is given and can do nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import TaskDefinitionError
from gptapps.prompts import PromptTemplate


@given(st.text())
def test_a_text_stands_in_the_prompt_as_it_is(text: str) -> None:
    assert PromptTemplate("<{{ text }}>", "here").render({"text": text}) == f"<{text}>"


def test_tags_leave_no_blank_lines() -> None:
    template = PromptTemplate("a\n{% if yes %}\nb\n{% endif %}\nc\n", "here")
    assert template.render({"yes": True}) == "a\nb\nc"
    assert template.render({"yes": False}) == "a\nc"


@pytest.mark.parametrize(
    "source",
    [
        "{{ missing }}",
        "{{ text.__class__.__mro__ }}",
        "{{ labels.append('x') }}",
        "{{ 1 / 0 }}",
        "{{ text + 1 }}",
        "{{ labels[7].x }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_what_can_not_be_filled_in_is_one_sentence(source: str) -> None:
    template = PromptTemplate(source, "prompts.en.user of mine.toml")
    with pytest.raises(TaskDefinitionError, match=r"^The template prompts\.en\.user of mine\.toml can't be filled in"):
        template.render({"text": "Hello", "labels": ["a"]})


def test_a_template_can_not_change_what_it_is_given() -> None:
    labels = ["a"]
    with pytest.raises(TaskDefinitionError):
        PromptTemplate("{{ labels.append('x') }}", "here").render({"labels": labels})
    assert labels == ["a"]


def test_a_broken_template_names_its_line() -> None:
    with pytest.raises(TaskDefinitionError, match=r"template here is not valid \(line 2"):
        PromptTemplate("fine\n{{ text", "here")
