"""One run of each task on the model that everyone has: sensible words, and one sentence where it can't."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_language_model import write_tiny_model

from gptapps.decoding.language_model import LanguageModel

Command = Callable[..., Any]

HARBOUR = Path(__file__).resolve().parents[2] / "examples" / "harbour.txt"
pytestmark = pytest.mark.usefixtures("default_gguf")


def test_summarize(gptapps: Command) -> None:
    result = gptapps("summarize", HARBOUR, "--max-words", "30")
    assert (result.code, result.err, len(result.lines)) == (0, "", 1)
    assert 5 <= len(result.out.split()) <= 30
    assert "harbour" in result.out


def test_classify_and_sentiment(gptapps: Command) -> None:
    result = gptapps("sentiment", "--text", "The soup was cold, the waiter was rude, and we will never come back.")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("negative\t")
    chosen = gptapps("classify", "--labels", "sports,cooking", "--text", "Whisk two eggs with the sugar.", "--json")
    assert json.loads(chosen.out)["label"] == "cooking"


def test_in_little_memory(gptapps: Command, tmp_path: Path, default_model: LanguageModel) -> None:
    result = gptapps("sentiment", "--low-memory", "--text", "The soup was cold and the waiter rude.")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("negative\t")
    folder = write_tiny_model(tmp_path, default_model.tokenizer)
    result = gptapps("sentiment", "--low-memory", "-m", folder, "--text", "Cold soup.")
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert "low_memory has nothing to save: leave it out." in result.err


def test_answer(gptapps: Command) -> None:
    context = "The church clock had stood still for years when Martha Lindqvist, a watchmaker, repaired it."
    result = gptapps("answer", "--question", "Who repaired the church clock?", "--text", context, "--json")
    answer = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert context[answer["start"] : answer["end"]] == answer["text"]
    assert "Martha Lindqvist" in answer["text"]


def test_generate(gptapps: Command) -> None:
    result = gptapps("generate", "--text", "What is the capital of France?", "--max-new-tokens", "20")
    assert (result.code, result.err) == (0, "")
    assert "Paris" in result.out


def test_score(gptapps: Command) -> None:
    texts = ("The children walked to school.", "School the to children walked.")
    result = gptapps("score", "--text", texts[0], "--text", texts[1], "--json")
    sense, nonsense = (json.loads(line)["perplexity"] for line in result.lines)
    assert (result.code, result.err) == (0, "")
    assert 1 < sense < nonsense


@pytest.mark.parametrize(
    ("arguments", "place", "missing"),
    [
        (["translate", "--source", "en", "--target", "fr", "--text", "Good morning."], "", "translation"),
        (["translation_en_to_fr", "--text", "Good morning."], "", "translation"),
        (["summarize", "--text", "从下周一起，三条公交线路将延长运营时间。"], "--text 1: ", "chinese"),
        (["sentiment", "--language", "zh", "--text", "Good morning."], "", "chinese"),
    ],
)
def test_what_the_model_is_not_able_to_do_names_the_command_that_helps(
    gptapps: Command, arguments: list[str], place: str, missing: str
) -> None:
    result = gptapps(*arguments)
    assert (result.code, result.out) == (2, "")
    assert re.fullmatch(
        rf"gptapps: {place}The model smollm2-135m-instruct is not able to do '\w+' \({missing}\): "
        r"`gptapps models pull gemma-3-270m --accept-licence` brings a model that can, .*--model gemma-3-270m.*\.\n",
        result.err,
    )
