"""The built-in definitions: every sample row renders, in English and Chinese, as a chat and as plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gptapps import examples
from gptapps.errors import DataError
from gptapps.prompts import PromptAdapter
from gptapps.task_catalog import resolve_task, tasks
from gptapps.task_definition import TaskDefinition

FOLDER = Path(__file__).resolve().parent.parent / "tasks"
FAMILIES = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())
GOLD = ("label", "answer", "choices", "answers", "translations", "summaries", "completions")
RECORDS = {
    "classification": examples.ClassificationExample,
    "multi_label": examples.MultiLabelExample,
    "question_answering": examples.QuestionExample,
    "multiple_choice": examples.ChoiceExample,
    "translation": examples.TranslationExample,
    "summarization": examples.SummarizationExample,
    "generation": examples.GenerationExample,
    "scoring": examples.ScoringExample,
}


class Chat:
    chat_template: str | None = "some"

    def render_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        return "".join(f"<{message['role']}>{message['content']}</>" for message in messages) + "<assistant>"


class Plain(Chat):
    chat_template = None


def sample(family: str) -> list[dict[str, Any]]:
    lines = (FOLDER / family / "sample.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


CASES = [
    pytest.param(definition, row, style, id=f"{definition.id}-{number}-{style.__name__}")
    for definition in tasks()
    for (number, row), style in product(enumerate(sample(definition.pipeline), 1), (Chat, Plain))
]


def fields_of(definition: TaskDefinition, row: Mapping[str, Any]) -> dict[str, object]:
    fields = {key: value for key, value in row.items() if key not in (*GOLD, "language")}
    if definition.pipeline in ("classification", "multi_label"):
        fields["labels"] = ["negative", "positive"]
    if definition.pipeline == "summarization":
        fields["max_words"] = definition.defaults.max_words
    return fields


@pytest.mark.parametrize(("definition", "row", "style"), CASES)
def test_every_sample_row_renders(definition: TaskDefinition, row: dict[str, Any], style: type[Chat]) -> None:
    adapter = PromptAdapter(definition, style(), language=row["language"])
    prompt = adapter.render(fields_of(definition, row))
    for name in definition.family.central:
        assert row[name] in prompt.text
    assert prompt.special_tokens != adapter.is_chat
    # Where a prompt ends in a space, the answer's first token differs from the one the model learned.
    assert not prompt.text[-1:].isspace()
    assert "\n\n\n" not in prompt.text
    assert prompt.answer_prefix in ("", " ")
    if row["language"] == "zh":
        assert prompt.answer_prefix == ""


@pytest.mark.parametrize("definition", tasks(), ids=lambda definition: definition.id)
def test_every_task_has_prompts_in_english_and_chinese(definition: TaskDefinition) -> None:
    assert definition.languages == ("en", "zh")
    assert resolve_task(definition.id) == definition


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_definitions_a_readme_and_both_languages(family: str) -> None:
    rows = sample(family)
    assert 6 <= len(rows) <= 8
    assert {row["language"] for row in rows} == {"en", "zh"}
    assert len({json.dumps(row, sort_keys=True) for row in rows}) == len(rows)
    for row in rows:
        RECORDS[family].model_validate(row)
    readme = (FOLDER / family / "README.md").read_text(encoding="utf-8")
    for definition in tasks():
        if definition.pipeline == family:
            assert f"`{definition.id}`" in readme


@pytest.mark.parametrize("row", sample("question_answering"), ids=lambda row: row["question"])
def test_sample_answers_stand_in_their_context(row: dict[str, Any]) -> None:
    assert row["answers"]
    assert all(answer in row["context"] for answer in row["answers"])


@pytest.mark.parametrize(("language", "style"), list(product(("en", "zh"), (Chat, Plain))))
def test_the_question_stands_before_the_context_and_behind_it(language: str, style: type[Chat]) -> None:
    adapter = PromptAdapter(resolve_task("answer"), style(), language=language, shots=())
    text = adapter.render({"question": "WHO?", "context": "CONTEXT"}).text
    assert text.index("WHO?") < text.index("CONTEXT") < text.rindex("WHO?")


def test_shot_answers_stand_in_their_context() -> None:
    for shot in resolve_task("answer").shots:
        assert shot["answer"] in shot["context"]


def test_any_two_languages_share_five_shots() -> None:
    shots = resolve_task("translate").shots
    codes = {code for shot in shots for code in shot}
    assert codes == {"en", "zh", "fr", "de", "es", "ja", "ru", "pt", "it", "ko"}
    for source, target in product(codes, codes):
        assert sum(source in shot and target in shot for shot in shots) == 5


def test_sentiment_shots_are_balanced() -> None:
    sentiment = resolve_task("sentiment")
    for language in sentiment.languages:
        given = [shot["label"] for shot in sentiment.shots_in(language)]
        assert given.count("positive") == given.count("negative") > 0


def test_only_a_pair_shows_a_second_text() -> None:
    adapter = PromptAdapter(resolve_task("classify"), Chat())
    one = adapter.render({"text": "ONE", "labels": ["a", "b"]}).text
    two = adapter.render({"text": "ONE", "text_pair": "TWO", "labels": ["a", "b"]}).text
    assert "Second" not in one
    assert two.index("ONE") < two.index("TWO")


def test_scoring_reads_the_bare_text_whatever_the_model() -> None:
    prompt = PromptAdapter(resolve_task("score"), Chat()).render({"text": "As it stands. "})
    assert (prompt.text, prompt.special_tokens) == ("As it stands. ", True)


def test_chinese_and_translation_ask_for_a_model_that_can() -> None:
    assert resolve_task("translate").needs_in("en") == ("translation",)
    assert resolve_task("translate").needs_in("zh") == ("translation", "chinese")
    assert resolve_task("summarize").needs_in("zh") == ("chinese",)
    assert resolve_task("summarize").needs_in("en") == ()


def test_a_missing_field_is_named() -> None:
    with pytest.raises(DataError, match="'answer' needs the field 'context'"):
        PromptAdapter(resolve_task("answer"), Chat()).render({"question": "Who?"})
