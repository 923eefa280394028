"""``finetune`` with a head on a frozen model: what the folder holds, that it predicts, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_language_model import one_thread
from toy_labels import write_toy_rows

from gptapps import evaluate, finetune, pipeline
from gptapps.cli.app import run
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CheckpointError, DataError, ModelNotFoundError, OptionError
from gptapps.training import run as training_run
from gptapps.training.report import FinetuneReport

KILLING = Path(__file__).with_name("killing_finetune.py")
QUICK: dict[str, Any] = {"layers": [1, 2], "penalties": [0.1, 1.0], "selection_folds": 2}


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Use one thread: the matrices are small."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred rows to learn from: a random model needs many."""
    return write_toy_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 200)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, rows: Path, tiny_chat: LanguageModel) -> FinetuneReport:
    """A head that was learned from them."""
    output = tmp_path_factory.mktemp("trained") / "head"
    with one_thread():
        return finetune("classify", rows, model=tiny_chat, output=output, validation=0.2, **QUICK)


def test_the_folder_says_everything(trained: FinetuneReport, rows: Path) -> None:
    names = {path.name for path in trained.folder.iterdir()}
    assert names == {
        "README.md", "data.json", "gptapps.json", "head.safetensors", "metrics.json", "task.toml", "training.json",
    }  # fmt: skip
    assert not trained.folder.with_name("head.work").exists()
    card = (trained.folder / "README.md").read_text()
    accuracy = trained.score("accuracy")
    assert f"{accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]" in card
    data = json.loads((trained.folder / "data.json").read_text())
    assert data["checksums"]["train"]["sha256"] in card
    assert data["labels"] == ["kitchen", "weather"]
    assert trained.as_dict() == json.loads((trained.folder / "metrics.json").read_text())
    assert set(load_file(trained.folder / "head.safetensors")) == {"weight", "bias"}


def test_it_learned(trained: FinetuneReport) -> None:
    assert trained.score("accuracy").value >= 0.9


def test_folds_measure_and_the_model_that_is_kept_learned_from_everything(
    rows: Path, tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    call: dict[str, Any] = {"model": tiny_chat, **QUICK}
    report = finetune("classify", rows, output=tmp_path / "folds", validation=0.2, folds=3, **call)
    assert list(report.rounds) == ["fold-1", "fold-2", "fold-3"]
    spread = report.spreads[0]
    assert (spread.name, len(spread.values)) == ("accuracy", 3)
    assert spread.low is not None
    assert spread.mean >= 0.9
    assert spread.low <= spread.mean
    assert sum(scores[0].n for scores in report.rounds.values()) == 200
    assert report.examples == {"train": 200, "validation": 0}
    assert report.scores == ()
    for said in (report.table, (report.folder / "README.md").read_text()):
        assert "3 folds" in said
        assert "The model that is kept learned from all 200 examples." in said
        assert "majority label" in said
    assert report.as_dict() == json.loads((report.folder / "metrics.json").read_text())
    whole = finetune("classify", rows, output=tmp_path / "whole", validation=None, **call)
    weights = [load_file(one.folder / "head.safetensors") for one in (report, whole)]
    torch.testing.assert_close(*weights, atol=1e-3, rtol=1e-3)  # read in other batches


def test_validation_data_of_its_own_stays_out_of_the_folds(
    rows: Path, tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    other = write_toy_rows(tmp_path / "other.jsonl", 40, seed=9)
    report = finetune("classify", rows, output=tmp_path / "a", validation=other, folds=2, model=tiny_chat, **QUICK)
    assert report.examples == {"train": 200, "validation": 40}
    assert report.score("accuracy").n == 40
    assert sum(scores[0].n for scores in report.rounds.values()) == 200
    assert "validation examples judge the model that is kept" in report.table


def test_a_pipeline_serves_it(trained: FinetuneReport) -> None:
    task = pipeline("classify", model=trained.folder)
    output = task("14: the thunder and fog and rain all week")
    assert output.label == "weather"
    assert list(output.scores) == ["weather", "kitchen"]
    assert sum(output.scores.values()) == pytest.approx(1)
    many = task(
        ["the soup", "14: the thunder and fog and rain all week", "the fog, again and again and again, at noon"]
    )
    assert many[1].scores == pytest.approx(output.scores, abs=1e-4)
    assert pipeline("sentiment", model=trained.folder)("13: the kettle and spoon and oven").label == "kitchen"


def test_an_evaluation_measures_it(trained: FinetuneReport, tmp_path: Path) -> None:
    report = evaluate(
        "classify", write_toy_rows(tmp_path / "new.jsonl", 100, seed=5), model=trained.folder, output=tmp_path / "run"
    )
    assert report.score("accuracy").value >= 0.85
    lines = map(json.loads, (tmp_path / "run" / "examples.jsonl").read_text().splitlines())
    line = next(one for one in lines if one["index"] == 0)
    assert line["prompt"].startswith("Text: 0: the")
    assert line["prompt"].endswith("Label:")


def test_the_same_seed_gives_the_same_weights(
    trained: FinetuneReport, rows: Path, tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    again = finetune("classify", rows, model=tiny_chat, output=tmp_path / "head", validation=0.2, **QUICK)
    assert again.signature == trained.signature
    weights = [(report.folder / "head.safetensors").read_bytes() for report in (trained, again)]
    assert weights[0] == weights[1]


def test_the_same_call_again_reads_what_is_there_and_another_is_refused(
    trained: FinetuneReport, rows: Path, tiny_chat: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_run, "open_work_folder", None)
    left = trained.folder.with_name("head.work")  # as by a kill between the folder and the end
    left.mkdir()
    call: dict[str, Any] = {"model": tiny_chat, "output": trained.folder, "validation": 0.2, **QUICK}
    assert finetune("classify", rows, **call).as_dict() == trained.as_dict()
    assert not left.exists()
    with pytest.raises(OptionError, match="differs from this one in seed"):
        finetune("classify", rows, **{**call, "seed": 1})


def test_few_examples_of_each_label_with_several_seeds(rows: Path, tiny_chat: LanguageModel, tmp_path: Path) -> None:
    report = finetune(
        "classify", rows, model=tiny_chat, output=tmp_path / "few", validation=0.3, per_label=4, seeds=3, **QUICK
    )
    assert list(report.rounds) == ["seed-0", "seed-1", "seed-2"]
    assert report.examples == {"train": 8, "validation": 60}
    assert len(report.spreads[0].values) == 3
    assert report.scores == report.rounds["seed-0"]


def test_augmented_copies_are_learned_from_and_never_measured(
    rows: Path, tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    call: dict[str, Any] = {"model": tiny_chat, "validation": 0.2, **QUICK}
    report = finetune("classify", rows, output=tmp_path / "a", augment=["word_swap"], **call)
    assert report.examples == {"train": 160, "validation": 40}
    assert report.details["examples"] > 160
    assert report.score("accuracy").n == 40


def test_a_folder_that_predicts_something_else_is_not_kept(
    rows: Path, tiny_chat: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mark = training_run.write_mark

    def tampering(folder: Path, **said: Any) -> Any:
        tensors = load_file(folder / "head.safetensors")
        save_file({**tensors, "bias": tensors["bias"] + torch.tensor([50.0, 0.0])}, folder / "head.safetensors")
        return write_mark(folder, **said)

    monkeypatch.setattr(training_run, "write_mark", tampering)
    with pytest.raises(CheckpointError, match=r"loaded again, and its prediction for example \d+ isn't the same"):
        finetune("classify", rows, model=tiny_chat, output=tmp_path / "head", **QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["head.work"]


def test_a_folder_that_was_changed_is_refused(rows: Path, tiny_chat: LanguageModel, tmp_path: Path) -> None:
    folder = finetune("classify", rows, model=tiny_chat, output=tmp_path / "head", **QUICK).folder
    head = (folder / "head.safetensors").read_bytes()
    (folder / "head.safetensors").write_bytes(head[:-1] + bytes([head[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"head.safetensors isn't the file that training wrote"):
        pipeline("classify", model=folder)
    (folder / "head.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        pipeline("classify", model=folder)


def test_the_base_may_lie_elsewhere_but_has_to_be_the_same(
    trained: FinetuneReport, tiny_chat: LanguageModel, tiny_base: LanguageModel, tmp_path: Path
) -> None:
    mark = json.loads((trained.folder / "gptapps.json").read_text())
    moved = tmp_path / "head"
    moved.mkdir()
    for file in trained.folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    mark["base"]["name"] = str(tmp_path / "gone")
    (moved / "gptapps.json").write_text(json.dumps(mark))
    with pytest.raises(ModelNotFoundError, match=r"was trained on the model .* Say with base where it lies now"):
        pipeline("classify", model=moved)
    assert (
        pipeline("classify", model=moved, base=tiny_chat.name)("13: the kettle and spoon and oven").label == "kitchen"
    )
    with pytest.raises(OptionError, match="leave base out"):
        pipeline("classify", labels=["a", "b"], model=tiny_chat.name, base=tiny_base.name)


def test_labels_and_tasks_that_it_was_not_trained_for_are_refused(trained: FinetuneReport) -> None:
    with pytest.raises(OptionError, match="was trained for the labels kitchen, weather"):
        pipeline("classify", model=trained.folder, labels=["a", "b"])
    with pytest.raises(OptionError, match="There is no option 'prompt'"):
        pipeline("classify", model=trained.folder, prompt="{{ text }}")
    with pytest.raises(
        OptionError, match="was trained for the task 'classify', which is classification, and 'summarize'"
    ):
        pipeline("summarize", model=trained.folder)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            "summarize",
            {},
            "The method 'head' doesn't go with the task 'summarize', which is summarization .* use method='",
        ),
        ("score", {}, "which is scoring .a head chooses among .*: use method='full' or 'lora' or 'prompt'"),
        ("classify", {"rank": 4}, "The option 'rank' belongs to method='lora', and this is 'head'"),
        ("classify", {"layers": [9]}, "There is no layer 9: the model .* has 2"),
        ("classify", {"folds": 1}, "folds is 1, but has to be a whole number of at least 2"),
        ("classify", {"folds": 2, "seeds": 2}, "don't go together"),
        ("classify", {"augment": ["rhyme"]}, "There is no augmentation 'rhyme'"),
        ("classify", {"penalties": [0.0]}, "The option penalties.0 is 0.0"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    task: str, options: dict[str, Any], message: str, rows: Path, tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        finetune(task, rows, model=tiny_chat, output=tmp_path / "head", **options)


def test_an_output_that_holds_something_else_is_refused(rows: Path, tiny_chat: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all")
    with pytest.raises(OptionError, match="holds something else than a trained model"):
        finetune("classify", rows, model=tiny_chat, output=tmp_path, **QUICK)


def test_faulty_data_stops_before_a_model_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "", "label": "a"}\n{"text": "x", "label": "b"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:1"):
        finetune("classify", path, model="no/model", offline=True, output=tmp_path / "head")


def test_the_command_line_trains_and_serves(
    rows: Path, tiny_chat: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "head")
    quick = ["--layers", "1,2", "--penalties", "0.1,1", "--selection-folds", "2", "-m", tiny_chat.name]
    assert run(["finetune", "classify", str(rows), "--output", output, *quick]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert output in out
    assert run(["classify", "-m", output, "--text", "the snow and fog and rain"]) == 0
    assert capsys.readouterr().out.startswith("weather")
    assert run(["finetune", "classify", str(rows), "--output", output, "--penalties", "a", "-m", tiny_chat.name]) == 2
    assert "write numbers separated by commas" in capsys.readouterr().err


def test_rare_labels_can_count_more(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    common, rare = [], []
    for line in write_toy_rows(tmp_path / "all.jsonl", 60).read_text().splitlines():
        (rare if json.loads(line)["label"] == "weather" else common).append(line)
    (tmp_path / "rows.jsonl").write_text("\n".join(common + rare[:4]) + "\n")
    shares = {}
    for kind in ("none", "balanced"):
        finetune(
            "classify", tmp_path / "rows.jsonl", model=tiny_chat, output=tmp_path / kind, validation=None,
            class_weights=kind, layers=[1], poolings=["mean"], penalties=[1.0],
        )  # fmt: skip
        texts = [json.loads(line)["text"] for line in rare[4:]]
        found = pipeline("classify", model=tmp_path / kind)(texts)
        shares[kind] = sum(one.scores["weather"] for one in found) / len(found)
    assert shares["balanced"] > shares["none"] + 0.05


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
@pytest.mark.parametrize("method", ["head", "lora"])
def test_twenty_kills_change_nothing(method: str, tiny_chat: LanguageModel, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(KILLING), str(tmp_path), tiny_chat.name, "3", method]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["kills"] == 20
    assert said["saving"] >= 5
    assert said["killed"] == said["whole"]
    assert len(said["whole"]) == 3  # weights among them
    assert said["left"] == []
