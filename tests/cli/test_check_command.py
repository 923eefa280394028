"""``gptapps check``: findings on standard output, exit code 2 where one is fatal, and no weights read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gptapps.model_store import DEFAULT_MODEL

Write = Callable[[str, str | bytes], Path]

HEALTHY = "text,label\n" + "".join(
    f"Note {number} about fog,{('urgent', 'routine')[number % 2]}\n" for number in range(20)
)


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("weights are read")

    monkeypatch.setattr("gptapps.decoding.language_model.load_language_model", refuse)


def test_healthy_data(gptapps: Callable, write: Write, tiny: str) -> None:
    result = gptapps("check", "classify", write("a.csv", HEALTHY), "-m", tiny)
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "18 examples to learn from, 2 to try it on\nroutine 9, urgent 9\n\nNothing is wrong with it.\n"
    )


def test_a_warning_is_told_and_lets_pass(gptapps: Callable, write: Write, tiny: str) -> None:
    result = gptapps("check", "classify", write("a.csv", HEALTHY + "Note 3 about fog,routine\n"), "-m", tiny)
    assert result.code == 0
    assert result.lines[1].split()[:3] == ["warning", "a.csv:22", "1"]
    assert "Nothing is wrong" not in result.out


def test_what_is_fatal_ends_with_2(gptapps: Callable, write: Write, tiny: str) -> None:
    result = gptapps("check", "classify", write("a.csv", HEALTHY + ",routine\nFog,\n"), "-m", tiny)
    assert (result.code, result.err) == (2, "")
    assert [line.split()[:3] for line in result.lines[1:3]] == [
        ["fatal", "a.csv:22", "text"],
        ["fatal", "a.csv:23", "label"],
    ]
    assert result.lines[-1] == "2 findings have to be mended before anything is learned."


def test_validation_data_columns_and_labels(gptapps: Callable, write: Write, tiny: str) -> None:
    train = write("train.csv", HEALTHY.replace("text,label", "body,kind"))
    other = write("other.csv", "body,kind\nNote 4 about fog,urgent\nClear skies,urgent\n")
    columns = ("--columns", "text=body,label=kind", "--label-names", "urgent=now,routine=later")
    result = gptapps("check", "classify", train, "--validation", other, *columns, "-m", tiny)
    assert result.code == 0
    assert "1 of 2 rows are the same as a row to learn from (row 6)" in result.out
    assert "20 examples to learn from, 2 to try it on\nnow 10, later 10\n" in result.out


def test_json(gptapps: Callable, write: Write, tiny: str) -> None:
    path = write("训练.csv", HEALTHY + "起雾了,紧急\n")
    result = gptapps("check", "classify", path, "--validation", "none", "--json", "-m", tiny)
    told = json.loads(result.out)
    assert (result.code, told["healthy"]) == (0, True)
    assert [(finding["kind"], finding["column"]) for finding in told["findings"]] == [("imbalance", "label")]
    assert told["data"]["labels"] == ["routine", "urgent", "紧急"]
    assert told["data"]["examples"] == {"train": 21, "validation": 0}


def test_what_does_not_fit_the_model(gptapps: Callable, write: Write, tiny: str) -> None:
    path = write("a.csv", HEALTHY + "Fog. " * 300 + ",urgent\n")
    assert "more than 256 tokens" in gptapps("check", "classify", path, "-m", tiny).out
    fewer = gptapps("check", "classify", write("b.csv", HEALTHY), "-m", tiny, "--max-length", "20")
    assert (fewer.code, fewer.lines[1].split()[0]) == (2, "fatal")


def test_what_a_method_does_not_take(gptapps: Callable, write: Write, tiny: str) -> None:
    """A learned prompt takes 20 of the tokens itself."""
    path = write("a.csv", HEALTHY + "Fog. " * 45 + ",urgent\n")
    for options, fits in (
        ((), True),
        (("--method", "lora"), True),
        (("--method", "prompt", "--max-length", "128"), False),
    ):
        out = gptapps("check", "classify", path, "-m", tiny, *options).out
        assert ("more than 108 tokens" not in out) == fits
    refused = gptapps("check", "translate", path, "--method", "head")
    assert refused.code == 2
    assert "'head' is not one of 'full', 'lora', 'prompt'" in refused.err


def test_a_model_that_is_not_here_is_not_fetched_unasked(gptapps: Callable, write: Write, empty_cache: Path) -> None:
    result = gptapps("check", "classify", write("a.csv", HEALTHY))
    assert result.code == 0
    assert f"no lengths were checked, since {DEFAULT_MODEL} is not on this machine" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("classify", "absent.csv"), "absent.csv can't be read"),
        (("clasify", "a.csv"), "Did you mean 'classify'"),
        (("classify", "a.csv", "--columns", "text"), "--columns has 'text'"),
        (("classify", "a.csv", "--validation", "2"), "validation is 2.0"),
        (("generate", "a.csv"), "learn plain texts as the task 'score'"),
        (("translate", "a.csv", "--source", "eng"), "column 'translations'"),
    ],
)
def test_mistakes(
    gptapps: Callable,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.csv", HEALTHY)
    result = gptapps("check", *arguments)
    assert result.code == 2
    assert message in result.out + result.err


def test_help_names_the_tasks_and_their_options(gptapps: Callable) -> None:
    listed = gptapps("check", "--help").out
    assert "sentiment" in listed
    assert "generate" in listed
    options = gptapps("check", "translate", "--help").out
    assert all(option in options for option in ("--validation", "--source", "--max-length"))
    assert "--temperature" not in options
