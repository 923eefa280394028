"""What ``pipeline(...)`` refuses before anything is loaded, and one text where several may stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptapps import QuestionExample, SummarizationExample, TranslationExample, pipeline
from gptapps.errors import ModelNotFoundError, OptionError, TaskDefinitionError
from gptapps.heads.language_model import LanguageModelHead
from gptapps.registry import HEADS


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": "8"},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"threads": "2"},
        {"max_cache_bytes": "1"},
        {"model": 3},
        {"device": 0},
        {"shots": [1]},
        {"shots": "none"},
        {"prompt": 1},
    ],
)
def test_an_option_of_the_wrong_type_is_one_sentence(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=rf"option {next(iter(wrong))}[ .]"):
        pipeline("sentiment", **wrong)


def test_a_head_that_the_pipeline_does_not_use_is_refused(tmp_path: Path) -> None:
    definition = tmp_path / "mood.toml"
    definition.write_text(
        'schema_version = 1\npipeline = "generation"\nhead = "rating"\nsummary = "Says how it feels"\n'
        '[prompts.en]\nuser = "{{ text }}"\n'
    )
    HEADS.register("rating", LanguageModelHead)
    try:
        with pytest.raises(
            TaskDefinitionError, match=r"mood\.toml names the head 'rating'.* works with language_model"
        ):
            pipeline(str(definition), model="nowhere")
    finally:
        HEADS.unregister("rating")


def test_a_task_that_is_no_name_is_one_sentence() -> None:
    with pytest.raises(OptionError, match="The task is None"):
        pipeline(None)  # type: ignore[call-overload]


def test_a_model_may_be_a_path(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="absent"):
        pipeline("score", model=tmp_path / "absent.gguf")


def test_one_text_stands_for_a_list_of_one() -> None:
    assert SummarizationExample(text="a", summaries="b").summaries == ("b",)  # type: ignore[arg-type]
    assert QuestionExample(question="a", context="b", answers="c").answers == ("c",)  # type: ignore[arg-type]
    assert TranslationExample(text="a", translations=["b", "c"]).translations == ("b", "c")  # type: ignore[arg-type]
