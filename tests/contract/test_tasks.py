"""Every task of the catalogue keeps the contract, on a model that chats and on one that doesn't."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from task_checks import CHECKS, Row, sample_rows

from gptapps import pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.outputs import (
    Answer,
    Choice,
    Classification,
    Generation,
    Labelling,
    Likelihood,
    Output,
    Summary,
    Translation,
)
from gptapps.task_catalog import tasks
from gptapps.task_definition import TaskDefinition

OUTPUTS: dict[str, type[Output]] = {
    "classification": Classification,
    "multi_label": Labelling,
    "question_answering": Answer,
    "multiple_choice": Choice,
    "translation": Translation,
    "summarization": Summary,
    "generation": Generation,
    "scoring": Likelihood,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "classify": {"labels": ["negative", "positive", "very positive"]},
    "tag": {"labels": ["delay", "comfort", "information"]},
}
SHORT = {"max_new_tokens": 6}  # the models know nothing, so a few tokens tell as much as many

built_in = pytest.mark.parametrize("definition", tasks(), ids=lambda definition: definition.id)


def make(definition: TaskDefinition, model: LanguageModel) -> Any:
    """Return the task on a tiny model."""
    scored = definition.pipeline in ("classification", "multi_label", "multiple_choice", "scoring")
    return pipeline(definition.id, model=model, **OPTIONS.get(definition.id, {}), **({} if scored else SHORT))


@built_in
@pytest.mark.parametrize("kind", ["chat_model", "plain_model"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_task_keeps_the_contract(
    definition: TaskDefinition,
    kind: str,
    check: Callable[[Any, Sequence[Row]], None],
    request: pytest.FixtureRequest,
) -> None:
    check(make(definition, request.getfixturevalue(kind)), sample_rows(definition))


@built_in
def test_a_task_gives_the_output_of_its_family(definition: TaskDefinition, chat_model: LanguageModel) -> None:
    assert type(make(definition, chat_model)(sample_rows(definition)[0])) is OUTPUTS[definition.pipeline]


@built_in
def test_a_model_that_is_asked_in_plain_text_sees_the_worked_examples_unless_told_otherwise(
    definition: TaskDefinition, chat_model: LanguageModel, plain_model: LanguageModel
) -> None:
    row = sample_rows(definition)[0]
    for model in (chat_model, plain_model):
        in_a_chat = model is chat_model and definition.prompts["en"].user is not None
        shown = bool(definition.shots_in("en")) and not in_a_chat
        task = make(definition, model)
        if "shots" in task.options_type.__annotations__:
            assert (task(row).usage.input_tokens > task(row, shots=()).usage.input_tokens) is shown
        else:
            assert not shown
