"""Whatever a person gets wrong is one clear sentence on standard error, exit code 2, and no traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptapps import pipeline

Command = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]

FILES: dict[str, str | bytes] = {
    "fine.txt": "A text.",
    "empty.txt": "",
    "empty.jsonl": "",
    "header.csv": "text,label\n",
    "chinese.txt": "房间干净明亮，早餐也很丰盛。".encode("gb18030"),
    "third.jsonl": '{"text": "one"}\n{"text": "two"}\n{"text": \n{"text": "four"}\n',
    "number.jsonl": '{"text": "one"}\n{"text": 2}\n',
    "french.jsonl": '{"text": "one", "language": "fr"}\n',
    "blank.jsonl": '{"text": "one"}\n{"text": " "}\n',
    "names.csv": "txt,label\none,a\n",
    "wide.csv": "text,label\none,a\ntwo,b,c\n",
    "narrow.csv": "text,label\none\n",
    "long.jsonl": '{{"text": "one"}}\n{{"text": "{}"}}\n'.format("again and " * 400),
    "mine.toml": 'schema_version = 1\npipeline = "generation"\nsumary = "x"\nprompts.en.user = "{{ text }}"\n',
}


@pytest.fixture
def folder(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file for each mistake."""
    for name, content in FILES.items():
        write(name, content)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG = [
    ("sumarize fine.txt", r"There is no task 'sumarize'\. Did you mean 'summarize'\? Known: answer, .*"),
    ("nowhere.toml fine.txt", r"There is no task definition nowhere\.toml; check the path\."),
    ("mine.toml fine.txt", r"The task definition mine\.toml has 2 mistakes: .*'sumary' is not a key.*'summary'.*"),
    ("sentiment --overflo error fine.txt", r"No such option '--overflo'.*--overflow.*"),
    ("sentiment --overflow never fine.txt", r"Invalid value for '--overflow': 'never' is not one of .*"),
    ("summarize --max-words few fine.txt", r"Invalid value for '--max-words': 'few' is not a valid integer\."),
    ("summarize --max-words 0 fine.txt", r"The option max_words is 0: .*at least 1."),
    ("sentiment --batch-size 0 fine.txt", r"Invalid value for '--batch-size': 0 is not in the range x>=1\."),
    ("sentiment --threads 0 fine.txt", r"Invalid value for '--threads': 0 is not in the range x>=1\."),
    ("sentiment --format xml fine.txt", r"Invalid value for '--format': 'xml' is not one of 'text', .*"),
    ("sentiment --dtype int8 fine.txt", r"Invalid value for '--dtype': 'int8' is not one of 'float32', .*"),
    ("sentiment --device tpu fine.txt", r"There is no device 'tpu': use 'cpu', 'cuda' or 'cuda:N'\."),
    ("sentiment --language xx fine.txt", r".*no prompts in the language 'xx'\. It has: en, zh\."),
    (
        "sentiment --prompt none fine.txt",
        r"The option 'prompt' never names 'text', .*write \{\{ text \}\} where it belongs\.",
    ),
    ("generate --overflow chunk fine.txt", r"The task 'generate' has no overflow='chunk': use error or truncate\."),
    ("score --prompt none fine.txt", r"No such option '--prompt'\..*"),
    ("classify fine.txt", r"Classification needs labels to choose from: give labels, .*"),
    ("classify --labels one fine.txt", r"The option labels is \['one'\]: give at least 2\."),
    (
        "summarize --max-new-tokens 5000 fine.txt",
        r"max_new_tokens is 5000, but the model holds \d+ tokens for prompt and output together: lower .*",
    ),
    (
        "generate --max-new-tokens 5 --max-cache-bytes 9 fine.txt",
        r".* bytes of key/value .* the bound of 9 bytes: .*",
    ),
    ("classify --labels a,a fine.txt", r"Labels have to differ from each other and may not be empty\."),
    ("translate --source en fine.txt", r"Translation needs the target language: give target, .*"),
    (
        "translate --source en --target french fine.txt",
        r"There is no language with the code 'french'\. Did you mean 'fr'.*",
    ),
    ("answer fine.txt", r"fine\.txt has no 'question'\. It has: text\."),
    ("sentiment nowhere.txt", r"There is no file 'nowhere\.txt': check the path, or give a text itself with --text\."),
    (f"sentiment {'x' * 300}", r"There is no file 'x{60}…': check the path, or give a text itself with --text\."),
    ("sentiment folder", r"folder is a folder: name the files in it\."),
    ("sentiment - -", r"Standard input can be read only once: name - once\."),
    ("sentiment empty.txt", r"There is no input in empty\.txt: give it some text\."),
    ("sentiment empty.jsonl", r"There is no input in empty\.jsonl: give it some text\."),
    ("sentiment header.csv", r"There is no input in header\.csv: give it some text\."),
    ("sentiment --text=", r"--text 1 is empty: give it some text\."),
    ("answer --question Who? --context Ada. --text Bob.", r"--text 1 is a text, and no field is left for it beside .*"),
    ("sentiment --no-shots --shots fine.txt --text a", r"--shots and --no-shots contradict each other: .*"),
    ("sentiment --shots absent.jsonl --text a", r".*absent\.jsonl.*"),
    ("sentiment french.jsonl", r"french\.jsonl:1: An input has the language 'fr', .* It has: en, zh\."),
    (
        "summarize --max-cache-bytes 9 --beams 1000 fine.txt",
        r"The option beams is 1000: give a number of at most 256\.",
    ),
    (
        "sentiment chinese.txt",
        r"chinese\.txt is no UTF-8 text \(byte 0x[0-9a-f]{2}\): convert it, .*iconv -f GB18030.*",
    ),
    ("sentiment third.jsonl", r"third\.jsonl:3 is no JSON \(.* at column \d+\): mend the line\."),
    (
        "sentiment number.jsonl",
        r"number\.jsonl:2: An input for the task 'sentiment' can't be used: text is 2: give a text\.",
    ),
    ("sentiment blank.jsonl", r"blank\.jsonl:2: An input is empty: give it some text\."),
    ("sentiment names.csv", r"names\.csv:2 has no 'text'\. Did you mean 'txt'\? It has: txt, label\."),
    ("sentiment wide.csv", r"wide\.csv:3 has more columns than the first line names: quote or remove the surplus\."),
    ("sentiment narrow.csv", r"narrow\.csv:2 has no column 'label': give every row 2 columns\."),
    ("sentiment --overflow error long.jsonl", r"long\.jsonl:2: The prompt has \d+ tokens, and the model holds .*"),
    ("sentiment", r"There is nothing to read: give files, - for standard input, or --text; see gptapps sentiment -h\."),
    ("--nothing", r"No such option '--nothing'\."),
    ("models nothing", r"No such command 'nothing'\."),
]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "expected"), WRONG, ids=[line[:40].encode(errors="replace").decode() for line, _ in WRONG]
)
def test_a_mistake_is_one_sentence(gptapps: Command, tiny: str, line: str, expected: str) -> None:
    command, *arguments = line.split()
    model = ("--model", tiny) if command not in ("models", "--nothing") else ()
    result = gptapps(command, *arguments, *model)
    assert result.code == 2
    sentence, *hint = result.err.splitlines()
    assert re.fullmatch(f"gptapps: ({expected})", sentence), sentence
    assert not hint or re.fullmatch(r"Try 'gptapps[\w ]* --help'\.", hint[0])
    assert len(hint) <= 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "before"), [("third.jsonl", 2), ("number.jsonl", 1), ("wide.csv", 1), ("long.jsonl", 1)]
)
def test_what_stood_before_a_mistake_is_written(gptapps: Command, tiny: str, name: str, before: int) -> None:
    result = gptapps("sentiment", "--model", tiny, "--overflow", "error", name)
    assert (result.code, len(result.lines)) == (2, before)
    expected = pipeline("sentiment", model=tiny)("one")
    assert result.lines[0] == f"{expected.label}\t{expected.score:.4f}"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "line",
    [
        "summarize nowhere.txt",
        "summarize folder",
        "summarize --max-words 0 fine.txt",
        "sumarize fine.txt",
        "translate --source en --target fr fine.txt",
        "generate --overflow chunk fine.txt",
        "summarize",
    ],
)
def test_what_can_be_known_before_is_said_before_a_model_is_loaded(
    gptapps: Command, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise RuntimeError("a model was loaded")

    monkeypatch.setattr("gptapps.decoding.language_model.LanguageModel.load", load)
    assert gptapps(*line.split()).code == 2


def test_no_command_shows_the_help(gptapps: Command) -> None:
    alone = gptapps()
    assert (alone.code, alone.err) == (0, "")
    assert alone.out == gptapps("--help").out == gptapps("-h").out
    for word in ("summarize", "models", "tasks", "cat questions.jsonl | gptapps answer --json -"):
        assert word in alone.out
