"""What a task's command reads and writes, on a tiny model: the words mean nothing, their form does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptapps import pipeline
from gptapps.cli.inputs import RowReader
from gptapps.cli.rendering import as_text
from gptapps.datasets import Format
from gptapps.outputs import (
    Answer,
    Choice,
    Classification,
    Generation,
    Likelihood,
    Output,
    Summary,
    Translation,
    Usage,
)
from gptapps.task_catalog import tasks

Command = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]

ROWS = [("lovely", "positive"), ("awful, really", "negative"), ("fine", "positive")]


def scores(result: Any) -> list[float]:
    """Return the scores of the outputs that a command wrote as JSON lines."""
    return [Classification.model_validate_json(line).score for line in result.lines]


def test_one_file_is_one_text(gptapps: Command, write: Write, tiny: str) -> None:
    result = gptapps("sentiment", "--model", tiny, write("a.txt", "One text.\n\nOf three lines.\n"))
    assert (result.code, len(result.lines), result.err) == (0, 1, "")
    expected = pipeline("sentiment", model=tiny)("One text.\n\nOf three lines.")
    assert result.out == f"{expected.label}\t{expected.score:.4f}\n"


def test_files_of_all_kinds_are_read_in_turn(gptapps: Command, write: Write, tiny: str) -> None:
    files = [
        write("a.jsonl", "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS)),
        write("b.csv", "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS)),
        write("c.tsv", "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS)),
    ]
    result = gptapps("sentiment", "--model", tiny, "--json", *files)
    assert (result.code, len(result.lines), result.err) == (0, 9, "")
    alone = pipeline("sentiment", model=tiny)([text for text, _ in ROWS])
    assert scores(result) == pytest.approx([output.score for output in alone] * 3, abs=1e-4)


def test_every_line_is_an_input_where_lines_are_asked_for(gptapps: Command, write: Write, tiny: str) -> None:
    path = write("a.txt", "one\n\ntwo\nthree\n")
    by_flag = gptapps("sentiment", "--model", tiny, "--lines", path)
    assert len(by_flag.lines) == 3
    assert gptapps("sentiment", "--model", tiny, "--format", "lines", path) == by_flag


@pytest.mark.parametrize("dash", [["-"], []], ids=["dash", "nothing"])
def test_standard_input_is_read(gptapps: Command, tiny: str, dash: list[str]) -> None:
    one = gptapps("sentiment", "--model", tiny, *dash, stdin=b"one\ntwo\n")
    assert (one.code, len(one.lines)) == (0, 1)
    several = gptapps("sentiment", "--model", tiny, "--lines", *dash, stdin=b"\xef\xbb\xbfone\ntwo\n")
    assert (several.code, len(several.lines)) == (0, 2)
    rows = gptapps("sentiment", "--model", tiny, "--format", "jsonl", *dash, stdin=b'{"text": "one"}\n')
    assert rows.lines == several.lines[:1]


def test_texts_stand_in_options_before_files(gptapps: Command, write: Write, tiny: str) -> None:
    together = gptapps(
        "sentiment", "--model", tiny, "--text", "one", write("a.txt", "two"), "--text", "three", "--json"
    )
    alone = pipeline("sentiment", model=tiny)(["one", "three", "two"])
    assert scores(together) == pytest.approx([output.score for output in alone], abs=1e-4)


@pytest.mark.parametrize(
    ("files", "texts", "format", "several"),
    [
        (["a.txt"], [], None, False),
        (["-"], [], None, False),
        ([], [], None, False),
        ([], ["one"], None, False),
        (["a.jsonl"], [], "text", False),
        (["a.JSONL"], [], None, True),
        (["a.csv"], [], None, True),
        (["a.txt"], [], "lines", True),
        ([], [], "jsonl", True),
        (["a.txt", "b.txt"], [], None, True),
        ([], ["one", "two"], None, True),
        (["a.txt"], ["one"], None, True),
    ],
)
def test_each_output_gets_a_line_of_its_own_where_several_may_come(
    files: list[str], texts: list[str], format: Format | None, several: bool
) -> None:
    assert RowReader(tuple(map(Path, files)), tuple(texts), format).several is several


USAGE = Usage(input_tokens=1, output_tokens=1)


@pytest.mark.parametrize(
    ("output", "alone", "among_others"),
    [
        (Summary(text="a\nb\r\nc", finish_reason="end", usage=USAGE), "a\nb\r\nc", "a b c"),
        (Classification(label="x", score=0.25, scores={"x": 0.25}, usage=USAGE), "x\t0.2500", "x\t0.2500"),
        (
            Choice(index=1, text="a\nb", score=0.5, scores={}, log_likelihoods={}, usage=USAGE),
            "a b\t0.5000",
            "a b\t0.5000",
        ),
        (
            Generation(text="a", texts=("a", "b\nc"), finish_reason="end", log_likelihood=-1, usage=USAGE),
            "a\nb\nc",
            "a\tb c",
        ),
        (
            Likelihood(
                log_likelihood=-2,
                perplexity=3,
                bits_per_byte=1,
                tokens=1,
                bytes=1,
                greedy=False,
                best=1,
                continuations=(-4, -3),
                usage=USAGE,
            ),
            "perplexity 3.0000\tlog-likelihood -2.0000\tbest 1",
            "perplexity 3.0000\tlog-likelihood -2.0000\tbest 1",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_output_is_shown_in_full_and_on_one_line_among_others(output: Output, alone: str, among_others: str) -> None:
    assert as_text(output, one_line=False) == alone
    assert as_text(output, one_line=True) == among_others


def test_several_continuations_are_all_shown(gptapps: Command, tiny: str) -> None:
    options = ("--model", tiny, "--max-new-tokens", "3", "--temperature", "1", "--returns", "3")
    texts = Generation.model_validate_json(gptapps("generate", *options, "--text", "a", "--json").out).texts
    assert gptapps("generate", *options, "--text", "a").out == "\n".join(texts) + "\n"
    assert gptapps("generate", *options, "--text", "a", "--text", "b").lines[0].split("\t") == [*texts]


QUESTION = {"question": "When?", "context": "The pool opens at nine."}


@pytest.mark.parametrize(
    ("task", "options", "row", "kind"),
    [
        ("summarize", ["--max-new-tokens", "5"], {"text": "A long text."}, Summary),
        ("classify", ["--labels", "a,b, c"], {"text": "A text.", "text_pair": "Another."}, Classification),
        ("sentiment", [], {"text": "A text."}, Classification),
        ("answer", ["--max-new-tokens", "5"], QUESTION, Answer),
        ("choose", [], {"question": "Which?", "choices": ["red", "blue"], "answer": "red"}, Choice),
        ("translate", ["--max-new-tokens", "5"], {"text": "A text.", "source": "en", "target": "fr"}, Translation),
        ("translation_de_to_en", ["--max-new-tokens", "5"], {"text": "Ein Text."}, Translation),
        ("generate", ["--max-new-tokens", "5"], {"text": "A text."}, Generation),
        ("score", [], {"text": "A text.", "continuations": ["One.", "Two."]}, Likelihood),
    ],
)
def test_json_out_is_the_output_of_the_pipeline(
    gptapps: Command, write: Write, tiny: str, task: str, options: list[str], row: dict[str, str], kind: type[Output]
) -> None:
    path = write("rows.jsonl", json.dumps({"id": 7, **row}) + "\n" + json.dumps(row) + "\n")
    result = gptapps(task, "--model", tiny, "--json", *options, path)
    assert (result.code, result.err) == (0, "")
    one, other = (kind.model_validate_json(line) for line in result.lines)
    assert one.usage == other.usage
    plain = gptapps(task, "--model", tiny, *options, path)
    assert len(plain.lines) == 2
    assert getattr(one, "label", getattr(one, "text", "perplexity")).splitlines()[0] in plain.lines[0]


def test_every_task_of_the_catalogue_has_a_command(gptapps: Command) -> None:
    for definition in tasks():
        result = gptapps(definition.id, "--help")
        assert (result.code, result.err) == (0, "")
        assert definition.summary in " ".join(result.out.split())
        assert "Columns, of which those in brackets may be absent" in result.out
        assert "--json" in result.out


def test_a_field_given_as_an_option_stands_for_every_row(gptapps: Command, write: Write, tiny: str) -> None:
    context = write("pool.txt", QUESTION["context"])
    options = ("answer", "--model", tiny, "--json", "--max-new-tokens", "5")
    expected = gptapps(*options, write("a.jsonl", json.dumps(QUESTION) + "\n")).out
    assert gptapps(*options, "--question", "When?", context).out == expected
    assert gptapps(*options, "--question", "When?", "--text", QUESTION["context"]).out == expected
    assert gptapps(*options, "--context", QUESTION["context"], "--text", "When?").out == expected


def test_labels_stand_between_commas_or_in_options_of_their_own(gptapps: Command, tiny: str) -> None:
    command = ("classify", "--model", tiny, "--text", "A text.", "--json")
    between_commas = gptapps(*command, "--labels", "good, bad ,so so")
    assert set(json.loads(between_commas.out)["scores"]) == {"good", "bad", "so so"}
    alone = gptapps(*command, "--labels", "good", "--labels", "bad", "--labels", "so so")
    assert alone == between_commas


def test_choices_stand_in_options_or_rows(gptapps: Command, write: Write, tiny: str) -> None:
    command = ("choose", "--model", tiny, "--json")
    row = {"question": "Which?", "choices": {"text": ["the red one", "blue"], "label": ["A", "B"]}, "context": "Many."}
    expected = gptapps(*command, write("rows.jsonl", json.dumps(row) + "\n"))
    assert (expected.code, expected.err) == (0, "")
    asked = ("--question", "Which?", write("context.txt", "Many."))
    assert gptapps(*command, "--choices", "the red one, blue", *asked) == expected
    assert gptapps(*command, "--choices", "the red one", "--choices", "blue", *asked) == expected
    assert gptapps(*command, "--choices", "the red one,blue", "--context", "Many.", "--text", "Which?") == expected
    missing = gptapps(*command, "--text", "Which?")
    assert (missing.code, missing.out) == (2, "")
    assert "--text 1: A question needs two choices or more" in missing.err


def test_prompt_and_system_reach_the_model(gptapps: Command, tiny: str) -> None:
    command = ("sentiment", "--model", tiny, "--text", "A text.", "--json")
    tokens = {
        name: json.loads(gptapps(*command, *options).out)["usage"]["input_tokens"]
        for name, options in {
            "own": [],
            "prompt": ["--prompt", "{{ text }}"],
            "system": ["--prompt", "{{ text }}", "--system", "Be brief, be kind, and be exact."],
        }.items()
    }
    assert len(set(tokens.values())) == len(tokens)


def test_ones_own_definition_is_a_task_by_its_path(gptapps: Command, write: Write, tiny: str) -> None:
    path = write(
        "letters.toml",
        'schema_version = 1\npipeline = "classification"\nsummary = "Tells bills from love letters"\n'
        'labels = ["bill", "love"]\n[prompts.en]\nuser = "Which kind? {{ text }}"\n',
    )
    result = gptapps(path, "--model", tiny, "--text", "You owe us forty pounds.")
    assert (result.code, result.err) == (0, "")
    assert result.out.split("\t")[0] in ("bill", "love")
    assert "Tells bills from love letters" in gptapps(path, "--help").out


def test_overflow_is_told(gptapps: Command, write: Write, tiny: str) -> None:
    path = write("long.txt", "One more sentence about nothing. " * 100)
    cut = json.loads(gptapps("sentiment", "--model", tiny, "--json", path).out)["usage"]
    assert cut["dropped_tokens"] > 0
    pieces = gptapps("sentiment", "--model", tiny, "--json", "--overflow", "chunk", path)
    assert json.loads(pieces.out)["usage"]["chunks"] > 1


def test_the_options_alone_make_an_input(gptapps: Command, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    given = ("--question", "Who did?", "--context", "Ada did.", "--max-new-tokens", "4", "--model", tiny)
    result = gptapps("answer", *given)
    assert result.code == 0, result.err
    assert result.out.strip() in "Ada did."


@pytest.mark.parametrize("labels", ["bad,good", "bad\uff0cgood", " bad , good "])
def test_labels_stand_between_commas(gptapps: Command, tiny: str, labels: str) -> None:
    result = gptapps("classify", "--labels", labels, "--json", "--text", "fine", "--model", tiny)
    assert set(json.loads(result.out)["scores"]) == {"bad", "good"}


def test_worked_examples_come_from_a_file(gptapps: Command, tiny: str, tmp_path: Path) -> None:
    shots = tmp_path / "shots.csv"
    shots.write_text("text,label\nA fine day,good\nA grey day,bad\n", "utf-8")
    given = ("classify", "--labels", "good,bad", "--json", "--text", "fine", "--model", tiny)
    without, shown = (json.loads(gptapps(*given, *more).out) for more in ((), ("--shots", str(shots))))
    assert shown["usage"]["input_tokens"] > without["usage"]["input_tokens"]


def test_a_definition_may_have_a_chinese_name(gptapps: Command, tiny: str, tmp_path: Path) -> None:
    definition = tmp_path / "摘要.TOML"
    definition.write_text(
        'schema_version = 1\npipeline = "summarization"\nsummary = "Shortens"\n[prompts.zh]\nuser = "{{ text }}"\n',
        "utf-8",
    )
    assert gptapps(str(definition), "--text", "今天真好", "--model", tiny, "--max-new-tokens", "3").code == 0


def test_a_closed_standard_error_is_no_mistake(gptapps: Command, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert gptapps("generate", "--text", "fine", "--model", tiny, "--max-new-tokens", "3").code == 0
