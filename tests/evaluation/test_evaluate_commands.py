"""``gptapps evaluate`` and ``gptapps bench`` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import click
import pytest
from tiny_language_model import write_tiny_model

from gptapps.cli import evaluate_commands
from gptapps.cli.app import run
from gptapps.decoding.language_model import LanguageModel
from gptapps.evaluation.preparations import NEEDED_FIELDS, Preparation

ROWS = "sentence,target\nA fine day.,1\nA dull film.,0\nA kind word.,1\nA cold soup.,0\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> str:
    """A tiny model's folder."""
    return str(write_tiny_model(tmp_path_factory.mktemp("cli"), default_model.tokenizer))


@pytest.fixture
def reviews() -> str:
    """The name of a file with four rows in the working directory."""
    Path("reviews.csv").write_text(ROWS, "utf-8")
    return "reviews.csv"


def sentiment(data: str, folder: str, *more: str) -> list[str]:
    names = ["--columns", "text=sentence,label=target", "--label-names", "0=negative,1=positive"]
    return ["evaluate", "sentiment", data, "-m", folder, *names, *more]


def test_a_table_on_standard_output(reviews: str, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sentiment(reviews, folder)) == 0
    captured = capsys.readouterr()
    lines = captured.out.split("\n")
    assert lines[0].split()[:3] == ["data", "metric", "n"]
    assert lines[1].startswith("reviews.csv  accuracy")
    assert "majority label" in lines[1]
    (made,) = Path("runs").iterdir()
    assert lines[4].startswith(f"{made}, signature ")
    assert captured.err == ""


def test_json_on_request_and_the_same_command_goes_on(
    reviews: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = sentiment(reviews, folder, "--json", "--output", "here", "--shots", "1", "--limit", "2")
    assert [run(command), run(command)] == [0, 0]
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == second
    assert (first["folder"], first["counts"]["examples"], first["counts"]["shots"]) == ("here", 2, 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--columns", "sentence"], "--columns has 'sentence': write NAME=VALUE"),
        (["--metrics", "rouge1"], "'rouge1' compares texts"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--where", "target=7"], "No row of reviews.csv is left"),
        (["--max-words", "3"], "No such option"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    more: list[str], message: str, reviews: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sentiment(reviews, folder, *more)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_the_preparations_are_those_of_the_evaluation() -> None:
    command = evaluate_commands.evaluate.get_command(click.Context(evaluate_commands.evaluate), "score")
    (option,) = [one for one in command.get_params(click.Context(command)) if one.name == "prepare"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == get_args(Preparation)
    assert set(NEEDED_FIELDS) == set(get_args(Preparation))


def test_squad_v1_s_rules_are_named_on_the_command_line(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"question": "Where?", "context": "They met in Paris.", "answers": ["Paris"]}
    Path("asked.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    names = "squad_v1_exact_match,squad_v1_f1"
    assert run(["evaluate", "answer", "asked.jsonl", "-m", folder, "--metrics", names, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert [score["name"] for score in scores] == names.split(",")
    assert all("|rules:squad_v1|" in score["signature"] for score in scores)


def test_help_names_tasks_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--help"]) == 0
    tasks = capsys.readouterr().out
    assert "summarize" in tasks
    assert "generate" in tasks.split("Commands:")[1]
    assert run(["evaluate", "summarize", "--help"]) == 0
    options = capsys.readouterr().out
    for option in ("--columns", "--shots", "--max-words", "--model", "--text-language"):
        assert option in options
    for option in ("--lines", "--no-shots", "--format"):
        assert option not in options


def test_a_suite_of_ones_own(folder: str, reviews: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(
        'schema_version = 1\nsummary = "Mine"\n'
        '[[entries]]\nname = "reviews"\ntask = "sentiment"\n[entries.local]\npath = "reviews.csv"\n'
        'columns = { text = "sentence", label = "target" }\nlabel_names = { 0 = "negative", 1 = "positive" }\n'
        '[[entries]]\nname = "absent"\ntask = "sentiment"\n[entries.local]\npath = "absent.csv"\n',
        "utf-8",
    )
    command = ["bench", "mine.toml", "--data-root", ".", "-m", folder, "--output", "kept"]
    assert run(command) == 2
    out = capsys.readouterr().out
    assert out.startswith("mine: Mine\n\ndata     metric")
    assert "absent: failed: There is no absent.csv below ." in out
    assert len(list(Path("kept").iterdir())) == 1
    assert run([*command, "--json", "--limit", "2"]) == 2
    done, failed = map(json.loads, capsys.readouterr().out.splitlines())
    assert (done["suite"], done["entry"], done["state"], done["counts"]["examples"]) == ("mine", "reviews", "done", 2)
    assert (failed["state"], failed["entry"]) == ("failed", "absent")


def test_an_unknown_suite_is_refused_before_a_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "smok", "-m", "no/such-model"]) == 2
    assert "Did you mean 'smoke'" in capsys.readouterr().err
