"""Folds, seeds, copies and pairs through ``finetune`` and its command; what can't be done is told first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_files import write_rows
from tiny_language_model import write_tiny_model
from toy_labels import write_toy_rows

from gptapps import finetune, pipeline
from gptapps.cli.app import run
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError, OptionError

pytestmark = pytest.mark.usefixtures("light")

QUICK: dict[str, Any] = {"layers": [1, 2], "penalties": [0.1, 1.0], "selection_folds": 2}
COMMAND = ("--layers", "1,2", "--penalties", "0.1,1", "--selection-folds", "2")
LORA: dict[str, Any] = {"method": "lora", "examples_per_update": 8, "rank": 2}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Forty rows."""
    return write_toy_rows(tmp_path / "rows.jsonl", 40)


@pytest.mark.parametrize(
    ("options", "rounds"),
    [
        (("--folds", "2"), ["fold-1", "fold-2"]),
        (("--per-label", "8", "--seeds", "2", "--seed", "5"), ["seed-5", "seed-6"]),
    ],
)
def test_the_command_measures_several_rounds(
    options: Sequence[str], rounds: list[str], rows: Path, tiny_chat: LanguageModel, tmp_path: Path, capsys: Any
) -> None:
    output = tmp_path / "head"
    assert (
        run(["finetune", "classify", str(rows), "--output", str(output), "-m", tiny_chat.name, *COMMAND, *options]) == 0
    )
    metrics = json.loads((output / "metrics.json").read_text())
    assert list(metrics["rounds"]) == rounds
    assert f"2 {rounds[0].split('-')[0]}s" in capsys.readouterr().out
    learned_from = metrics["details"]["examples"]
    assert learned_from == (40 if options[0] == "--folds" else 16)


def test_the_command_makes_copies(rows: Path, tiny_chat: LanguageModel, tmp_path: Path) -> None:
    output = tmp_path / "head"
    given = ("--augment", "word_swap,word_dropout", "--copies", "2", "--validation", "0.5")
    assert (
        run(["finetune", "classify", str(rows), "--output", str(output), "-m", tiny_chat.name, *COMMAND, *given]) == 0
    )
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["examples"] == {"train": 20, "validation": 20}
    assert 20 + 2 * 20 < metrics["details"]["examples"] <= 20 + 4 * 20  # a copy like its original is left out


def test_the_command_merges(rows: Path, tiny_chat: LanguageModel, tmp_path: Path) -> None:
    output = tmp_path / "whole"
    given = ("--method", "lora", "--merge", "--epochs", "1", "--rank", "2")
    assert run(["finetune", "classify", str(rows), "--output", str(output), "-m", tiny_chat.name, *given]) == 0
    assert (output / "model.safetensors").exists()
    assert not (output / "adapter_config.json").exists()
    assert run(["classify", "-m", str(output), "--text", "the snow"]) == 0


def test_the_command_says_what_is_wrong_with_data(
    tiny_chat: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = write_toy_rows(tmp_path / "rows.jsonl", 20).read_text().splitlines()
    call = ["--output", str(tmp_path / "head"), "-m", tiny_chat.name, *COMMAND]
    (tmp_path / "twice.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    assert run(["finetune", "classify", str(tmp_path / "twice.jsonl"), *call]) == 0
    assert "warning" in capsys.readouterr().err
    (tmp_path / "empty.jsonl").write_text("\n".join([*lines, '{"text": "", "label": "weather"}']) + "\n")
    assert run(["finetune", "classify", str(tmp_path / "empty.jsonl"), *call]) == 2
    err = capsys.readouterr().err
    assert "empty.jsonl:21" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("classify", {"per_label": 30}, "30 examples of each label"),
        ("classify", {"folds": 50}, "folds"),
        ("score", {"method": "lora", "augment": ["word_swap"]}, "leave augmentation out"),
    ],
)
def test_what_the_data_does_not_allow_is_told_before_a_model_is_loaded(
    task: str, options: dict[str, Any], message: str, rows: Path, default_model: LanguageModel, tmp_path: Path
) -> None:
    folder = write_tiny_model(tmp_path / "tiny", default_model.tokenizer)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises((DataError, OptionError), match=message):
        finetune(task, rows, model=str(folder), output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_folds_of_a_lora_each_stop_early(rows: Path, tiny_chat: LanguageModel, tmp_path: Path) -> None:
    """Nothing is learned at such a rate, so that no evaluation is better than the first."""
    call = LORA | {"epochs": 6, "learning_rate": 1e-12}
    report = finetune("classify", rows, model=tiny_chat, output=tmp_path / "lora", folds=2, **call)
    assert list(report.rounds) == ["fold-1", "fold-2"]
    assert report.details["stopped_early"] is True
    curves = json.loads((report.folder / "curves.json").read_text())
    assert [row["epoch"] for row in curves["evaluations"]] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("options", [QUICK, LORA | {"epochs": 1}], ids=["head", "lora"])
def test_pairs_of_texts_are_learned(options: dict[str, Any], tiny_chat: LanguageModel, tmp_path: Path) -> None:
    words = ("fog", "soup", "rain", "oven")
    pairs = [(one, other) for one in words for other in words] * 2
    data = [
        {"text": f"{n}: the {one}", "text_pair": f"the {other}", "label": "same" if one == other else "other"}
        for n, (one, other) in enumerate(pairs)
    ]
    path = write_rows(tmp_path / "pairs.jsonl", data)
    report = finetune("classify", path, model=tiny_chat, output=tmp_path / "out", **options)
    task = pipeline("classify", model=report.folder)
    one, other = task([{"text": "9: the fog", "text_pair": f"the {word}"} for word in ("fog", "soup")])
    assert one.scores != other.scores  # the second text counts
    assert set(one.scores) == {"same", "other"}


def test_texts_go_there_and_back_and_those_to_measure_on_do_not(
    rows: Path, tiny_chat: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = write_toy_rows(tmp_path / "validation.jsonl", 10, seed=7)
    asked: list[str] = []
    identity = {"sha256": "a" * 64, "of": "file"}

    def translator(model: str, **options: Any) -> tuple[Any, dict[str, str]]:
        def translate(texts: Sequence[str], source: str, target: str) -> list[str]:
            asked.extend(texts)
            return [f"{text}, {target}" for text in texts]

        return translate, dict(identity)

    monkeypatch.setattr("gptapps.training.run.translator", translator)

    def train() -> dict[str, Any]:
        call = {**QUICK, "augment": ["back_translation"], "translator": "their-model"}
        report = finetune("classify", rows, validation=validation, model=tiny_chat, output=tmp_path / "head", **call)
        return dict(report.details)

    assert train()["examples"] == 80
    learned = [json.loads(line)["text"] for line in rows.read_text().splitlines()]
    assert {text for text in asked if not text.endswith(", fr")} == set(learned)
    assert train()["examples"] == 80  # read from the folder
    identity["sha256"] = "b" * 64
    with pytest.raises(OptionError, match=r"augment\.translator"):
        train()
