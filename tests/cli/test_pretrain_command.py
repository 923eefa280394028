"""``gptapps pretrain``: from a text to a folder that serves; mistakes are a sentence and exit code 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str | bytes], Path]

TEXT = "The mill stands by the river, and the river turns the mill.\n" * 40
TINY = (
    *("--layers", "1", "--heads", "2", "--channels", "16", "--context", "16", "--vocabulary-size", "280"),
    *("--updates", "2", "--evaluations", "1", "--sample-tokens", "4", "--device", "cpu"),
)


def test_from_text_to_a_model_that_writes(gptapps: Callable, write: Write, tmp_path: Path) -> None:
    output = tmp_path / "gpt"
    text = write("a.txt", TEXT)
    given = (*TINY, "--prompt", "The mill, it turns", "--prompt", "A river")
    result = gptapps("pretrain", text, "--output", output, *given)
    assert (result.code, result.err) == (0, "")
    assert result.lines[0].split() == ["update", "epoch", "loss", "perplexity", "bits", "per", "byte"]
    assert result.lines[-1].startswith(f"{output}, signature ")
    samples = (output / "samples" / "update-00000002.txt").read_text(encoding="utf-8").split("-" * 40)
    assert [sample.strip()[:7] for sample in samples[1:]] == ["The mil", "A river"]
    assert samples[1].strip().startswith("The mill, it turns")
    again = gptapps("pretrain", text, "--output", output, *given, "--json")
    report = json.loads(again.out)
    assert report["folder"] == str(output)
    assert report["shape"] == {"layers": 1, "heads": 2, "channels": 16, "context": 16}
    written = gptapps("generate", "-m", output, "--text", "The", "--json")
    assert (written.code, written.err) == (0, "")
    assert json.loads(written.out)["usage"]["output_tokens"] <= 8  # of a context of 16


def test_masked_text_says_what_it_cannot_do(gptapps: Callable, write: Write, tmp_path: Path) -> None:
    output = tmp_path / "gpt"
    result = gptapps("pretrain", write("a.txt", TEXT), "--objective", "masked", "--output", output, *TINY)
    assert result.code == 0
    assert "sees both directions, so it can't generate, score or be prompted" in result.out
    assert "can't generate" in (output / "README.md").read_text(encoding="utf-8")
    refused = gptapps("generate", "-m", output, "--text", "The mill")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "was pre-trained on masked text" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "gpt-2-smal"), "There is no size 'gpt-2-smal'. Did you mean 'gpt-2-small'?"),
        (("--channels", "30", "--heads", "4"), "30 channels can't be shared by 4 heads"),
        (("--size", "gpt-3-175b"), "gpt-3-175b has 174"),
        (("--validation", "2"), "validation is 2.0, but a share has to be above 0 and below 1"),
        (("--validation", "none.txt"), "none.txt can't be read"),
        (("--tokenizer", "no-such-model"), "no-such-model"),
        (("--tokenizer", "smollm2-135m-instruct", "--vocabulary-size", "300"), "vocabulary_size is of a tokenizer"),
        (("--vocabulary-size", "100"), "vocabulary_size is 100: give a number of at least 257"),
        (("--shard",), "shard spreads the weights over several processes, and this is one"),
        (("--device", "abacus"), "There is no device 'abacus'"),
        (("--output", "{occupied}"), "holds something else than a pre-trained model"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: tuple[str, ...], message: str, gptapps: Callable, write: Write, tmp_path: Path
) -> None:
    text = write("a.txt", TEXT)
    given = [argument.format(occupied=tmp_path) for argument in arguments]
    result = gptapps("pretrain", text, "--output", tmp_path / "gpt", "--device", "cpu", *given)
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert result.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_column_that_is_not_there(gptapps: Callable, write: Write, tmp_path: Path) -> None:
    rows = write("a.jsonl", '{"body": "The mill."}\n' * 3)
    result = gptapps("pretrain", rows, "--output", tmp_path / "gpt", *TINY)
    assert result.code == 2
    assert f"{rows}:1 has no column 'text'" in result.err
