"""What doesn't fit a model is found by its tokenizer and its configuration; its weights are not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_files import diagnosis_of, kinds, mails, questions, the_finding
from tiny_language_model import write_tiny_model

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import ModelNotFoundError
from gptapps.training.outline import outlined_model

LONG = "The fog stood over the harbour all day. " * 30


@pytest.fixture(scope="module")
def weightless(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> str:
    """The folder of a model with room for 256 tokens, whose weights are gone."""
    folder = write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer, context_length=256)
    (folder / "model.safetensors").write_bytes(b"no weights")
    return str(folder)


def test_an_outline_knows_what_the_model_knows(weightless: str, default_model: LanguageModel) -> None:
    outline = outlined_model(weightless)
    assert outline.context_length == 256
    assert outline.backbone.device.type == "meta"
    assert outline.tokenizer.encode(LONG) == default_model.tokenizer.encode(LONG)


def test_the_packaged_model_has_an_outline_too(default_model: LanguageModel) -> None:
    outline = outlined_model(default_model.name)
    assert outline.backbone.config == default_model.backbone.config


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no-such"):
        diagnosis_of(tmp_path, mails(), model=str(tmp_path / "no-such"))


def test_what_fits_is_no_finding(tmp_path: Path, weightless: str) -> None:
    assert diagnosis_of(tmp_path, mails(), model=weightless).findings == ()
    assert diagnosis_of(tmp_path, questions(), task="answer", model=weightless).findings == ()


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_text_that_is_cut_off_is_a_warning(tmp_path: Path, weightless: str, side: str) -> None:
    long = {"text": LONG, "label": "urgent"}
    rows, other = ([*mails(), long], 0.1) if side == "train" else (mails(), [*mails(1), long])
    finding = the_finding(diagnosis_of(tmp_path, rows, validation=other, model=weightless), "input_too_long")
    assert (finding.severity, finding.count) == ("warning", 1)
    assert "more than 256 tokens, the longest 3" in finding.what


def test_a_text_that_would_be_refused_is_fatal(tmp_path: Path, weightless: str) -> None:
    rows = [*mails(), {"text": LONG, "label": "urgent"}]
    diagnosis = diagnosis_of(tmp_path, rows, model=weightless, options={"overflow": "error"})
    assert the_finding(diagnosis, "input_too_long").severity == "fatal"
    assert diagnosis.data is None


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_prompt_that_the_trained_model_would_refuse_is_fatal(tmp_path: Path, weightless: str, side: str) -> None:
    """With 200 tokens to be written, 56 are left to read: the first evaluation would refuse such a text."""
    short = [{"text": f"The fog of day {n}", "completions": "lifted."} for n in range(12)]
    long = {"text": "The fog stood over the harbour all day. " * 7, "completions": "lifted."}
    options = {"max_new_tokens": 200}

    def found(rows: list[Any], validation: Any) -> list[str]:
        diagnosis = diagnosis_of(
            tmp_path, rows, task="generate", validation=validation, model=weightless, limit=200, options=options
        )
        return [finding.severity for finding in diagnosis.findings if finding.kind == "input_too_long"]

    if side == "validation":
        assert found(short, [*short[:2], long]) == ["fatal"]
        assert found([*short, long], short[:2]) == []  # it is learned from, whole
    else:
        assert found([*short, long], None) == ["fatal"]


def test_a_limit_of_ones_own(tmp_path: Path, weightless: str) -> None:
    rows = [*mails(), {"text": "The fog stood over the harbour all day. " * 6, "label": "urgent"}]
    assert diagnosis_of(tmp_path, rows, model=weightless).findings == ()
    finding = the_finding(diagnosis_of(tmp_path, rows, model=weightless, limit=100), "input_too_long")
    assert finding.row == 21


def test_a_target_with_no_room_is_fatal(tmp_path: Path, weightless: str) -> None:
    rows = [{"text": f"Fog, day {n}.", "summaries": f"Fog {n}."} for n in range(12)]
    rows[4]["summaries"] = LONG
    diagnosis = diagnosis_of(tmp_path, rows, task="summarize", model=weightless)
    finding = the_finding(diagnosis, "target_too_long")
    assert (finding.severity, finding.row, finding.column, finding.count) == ("fatal", 5, "summaries", 1)
    assert kinds(diagnosis) == ["target_too_long"]


@pytest.mark.parametrize(("answer_first", "found"), [(True, []), (False, ["answer_cut_off"])])
def test_an_answer_that_is_cut_off_with_its_context(
    tmp_path: Path, weightless: str, answer_first: bool, found: list[str]
) -> None:
    context = f"Ada is the mayor. {LONG}" if answer_first else f"{LONG} Ada is the mayor."
    rows: list[Any] = [*questions(), {"question": "Who is the mayor?", "context": context, "answers": "Ada"}]
    truncated = diagnosis_of(tmp_path, rows, task="answer", model=weightless, options={"overflow": "truncate"})
    assert kinds(truncated) == ["input_too_long", *found]
    in_pieces = diagnosis_of(tmp_path, rows, task="answer", model=weightless)
    assert "nothing is lost" in the_finding(in_pieces, "input_too_long").remedy
    assert kinds(in_pieces) == ["input_too_long"]


def test_a_long_gold_is_no_matter_where_nothing_is_learned_from_it(tmp_path: Path, weightless: str) -> None:
    rows = [{"text": f"Fog, day {n}.", "summaries": f"Fog {n}."} for n in range(12)]
    other = [{"text": "Fog again.", "summaries": LONG}, {"text": "Rain.", "summaries": "Rain."}]
    assert diagnosis_of(tmp_path, rows, task="summarize", validation=other, model=weightless).findings == ()


def test_the_longest_choice_counts(tmp_path: Path, weightless: str) -> None:
    rows: list[Any] = [{"question": f"{n} + 1?", "choices": [str(n), str(n + 1)], "answer": 1} for n in range(12)]
    rows[3]["choices"][0] = LONG
    finding = the_finding(diagnosis_of(tmp_path, rows, task="choose", model=weightless), "target_too_long")
    assert finding.row == 4
