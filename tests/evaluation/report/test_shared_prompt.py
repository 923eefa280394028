"""What prompts have in common."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptapps.evaluation.report.prompts import SharedPrompt


def test_what_stands_around_every_example_is_found() -> None:
    prompts = [f"<user>Label it.\n\nText: {text}</user>\n<model>Label:" for text in ("A boat.", "A bell.", "二")]
    shared = SharedPrompt.of(prompts)
    assert shared == SharedPrompt("<user>Label it.\n\n", "</user>\n<model>Label:")
    assert [shared.own(prompt) for prompt in prompts] == ["Text: A boat.", "Text: A bell.", "Text: 二"]


def test_prompts_that_are_all_the_same_or_only_one_share_nothing() -> None:
    assert SharedPrompt.of(["a\nb"] * 3) == SharedPrompt.of(["a\nb"]) == SharedPrompt.of([]) == SharedPrompt("", "")


@given(st.lists(st.text("ab\n<", max_size=12), max_size=5))
def test_the_parts_make_up_each_prompt(prompts: list[str]) -> None:
    shared = SharedPrompt.of(prompts)
    assert [shared.before + shared.own(prompt) + shared.after for prompt in prompts] == prompts
