"""The benchmark against lm-evaluation-harness asks both sides the same, and refuses to compare other answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny_language_model import write_tiny_model

from benchmarks.speed.__main__ import main
from benchmarks.speed.harness import SENTIMENT, check_same_choices
from benchmarks.speed.harness_side import HarnessSide
from benchmarks.speed.harness_tasks import ARC_EASY, SST2, write_task
from benchmarks.speed.measuring import BenchmarkError
from benchmarks.speed.ours import Ours
from gptapps.decoding.language_model import LanguageModel

COLOURS = ("red", "green", "dark blue", "a pale yellow")


@pytest.fixture(scope="module")
def tiny_model(default_model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with the default model's vocabulary, on disk."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer)


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Rows in the layout of the real sets."""
    questions = [
        {"question": f"Which colour has lamp {n}?", "choices": list(COLOURS[: 3 + n % 2]), "answer": n % 3}
        for n in range(12)
    ]
    sentences = [
        {"text": f"take {n} : {word} .", "label": label}
        for n, (word, label) in enumerate([("a joy", "positive"), ("a bore", "negative"), ("a mess", "negative")])
    ]
    for task, rows in ((ARC_EASY, questions), (SST2, sentences)):
        (tmp_path / task.file).parent.mkdir(parents=True)
        (tmp_path / task.file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def test_questions_with_worked_examples(data_root: Path, tiny_model: Path) -> None:
    file = data_root / "speed.json"
    options = ["--rounds", "1", "--warmups", "0", "--threads", "1", "--model", str(tiny_model), "--output", str(file)]
    assert main(["--only", "arc", "--questions", "3", "--data-root", str(data_root), *options]) == 0
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    own, client, memory = results
    assert [own["ours"]["side"], client["ours"]["side"]] == ["gptapps", "gptapps in the harness"]
    assert [peer["samples"] for peer in own["peers"]] == [peer["samples"] for peer in client["peers"]]
    assert own["checks"]["same_choices"] == own["checks"]["questions"] == 3
    assert own["checks"]["largest_difference_nats"] < 1e-3
    for side in (own["ours"], client["ours"], *own["peers"]):
        phases = {name: phase["median"] for name, phase in side["phases"].items()}
        assert side["median"] == phases["score"] < phases["total"]
    assert memory["ours"]["median"] == pytest.approx(own["ours"]["peak_bytes"] / 2**20, abs=1e-3)


def test_labels_without_worked_examples(data_root: Path, tiny_model: Path, tmp_path: Path) -> None:
    folder, definition = tmp_path / "tasks", tmp_path / "sentiment.toml"
    definition.write_text(SENTIMENT, encoding="utf-8")
    assert write_task(SST2, data_root, folder) == 3
    common = {"model": str(tiny_model), "folder": str(folder), "task": SST2.name, "batch": 2}
    threads = torch.get_num_threads()
    own = Ours().answer(**common, own_task=str(definition), threads=threads, low_memory=False)
    client = HarnessSide().evaluate(**common, backend="gptapps", threads=threads)
    checks = check_same_choices({"gptapps": [own["scores"]], "the harness": [client["scores"]]})
    assert checks["same_choices"] == 3
    assert checks["largest_difference_nats"] < 1e-3


@pytest.mark.parametrize(
    ("options", "problem"),
    [([], "needs data: give the folder"), (["--data-root", "no-such-folder"], "There is no qa/arc_easy/test.jsonl")],
)
def test_without_data_nothing_is_measured(
    options: Sequence[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--only", "arc", "--output", str(tmp_path / "speed.json"), *options]) == 1
    assert problem in capsys.readouterr().err


def test_other_choices_are_refused_unless_they_are_tied() -> None:
    ours = [[-1.0, -2.0, -3.0], [-4.0, -4.0005]]
    shifted = [[score + 7 for score in question] for question in ours]
    tied = [ours[0], [-4.0004, -4.0]]
    checks = check_same_choices({"gptapps": [ours, ours], "another": [shifted, tied]})
    assert checks == {"same_choices": 1, "largest_difference_nats": pytest.approx(5e-4)}
    with pytest.raises(BenchmarkError, match="Question 0: another chose 1 and gptapps 0, which leads by 1"):
        check_same_choices({"gptapps": [ours], "another": [[[-2.0, -1.0, -3.0], ours[1]]]})
    with pytest.raises(BenchmarkError, match="another was asked other questions than gptapps"):
        check_same_choices({"gptapps": [ours], "another": [ours[:1]]})


def test_shots_stand_before_the_questions(data_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    assert write_task(ARC_EASY, data_root, folder, 100) == 4  # all there are behind eight
    shots, asked = (
        [json.loads(line)["question"] for line in (folder / f"{ARC_EASY.name}{part}.jsonl").read_text().splitlines()]
        for part in ("-shots", "")
    )
    assert [*shots, *asked] == [f"Which colour has lamp {n}?" for n in range(12)]
    settings = json.loads((folder / f"{ARC_EASY.name}.yaml").read_text(encoding="utf-8"))
    assert (settings["num_fewshot"], settings["fewshot_config"]) == (8, {"sampler": "first_n"})
