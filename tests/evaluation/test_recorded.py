"""A run read back from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import scripted_model
from written_runs import answer, label, summary, translation, write_run

from gptapps import evaluate
from gptapps.errors import DataError
from gptapps.evaluation.manifest import SCHEMA_VERSION
from gptapps.evaluation.recorded import prediction_text, read_run
from gptapps.outputs import Answer, Classification, Summary, Translation
from gptapps.registry import METRICS


def test_what_evaluate_wrote_is_read_back(task: str, rows: Path) -> None:
    report = evaluate(task, rows, model=scripted_model(), limit=20, seed=3)
    run = read_run(report.folder)
    assert (run.scores, run.baselines) == (report.scores, report.baselines)
    assert (run.model, run.language, run.seed) == ("scripted", "en", 3)
    assert [example.index for example in run.examples] == list(range(20))
    accuracy = METRICS.get("accuracy")
    assert float(accuracy.aggregate(run.statistics(accuracy)).mean()) == pytest.approx(report.scores[0].value)
    assert all(sum(row.values()) == pytest.approx(1) for row in run.predictions(METRICS.get("log_loss")))


@pytest.mark.parametrize(
    ("prediction", "gold", "metric", "kind"),
    [
        (label("positive"), "negative", "accuracy", Classification),
        (answer("Mars"), ("Mars", "the planet"), "token_f1", Answer),
        (translation("Ein Boot."), ("Das Boot.",), "chrf", Translation),
        (summary("A boat."), ("The boat.",), "rouge1", Summary),
    ],
)
def test_every_family_is_known_by_its_predictions(
    tmp_path: Path, prediction: Any, gold: Any, metric: str, kind: type
) -> None:
    run = read_run(write_run(tmp_path / "run", [prediction, prediction], [gold, gold], [metric]))
    assert [type(output) for output in run.outputs] == [kind, kind]


def test_a_number_that_json_does_not_know_comes_back_as_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [label("positive")] * 2, ["positive"] * 2, ["accuracy"])
    report = json.loads((folder / "report.json").read_text())
    report["scores"][0]["value"] = None
    (folder / "report.json").write_text(json.dumps(report))
    assert read_run(folder).scores[0].value != read_run(folder).scores[0].value  # NaN


def _drop_line(folder: Path) -> None:
    file = folder / "examples.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))


def _change(name: str, old: str, new: str) -> Any:
    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "report.json").unlink(), r"The run in \S+ isn't finished: repeat the command"),
        (lambda folder: (folder / "report.json").write_text("{"), r"The run in \S+ can't be read \("),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest.json can't be read \(.*\): name the folder"),
        (
            _change("manifest.json", f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 7'),
            r"by another version of gptapps",
        ),
        (_drop_line, r"examples.jsonl doesn't hold what report.json counts"),
        (_change("examples.jsonl", '"label"', '"lapel"'), r"predictions of a kind that gptapps doesn't know"),
        (_change("examples.jsonl", '"score": 0.9', '"score": "x"'), r"has a prediction whose score can't be used"),
    ],
)
def test_a_folder_that_holds_no_finished_run_is_one_sentence(tmp_path: Path, change: Any, message: str) -> None:
    folder = write_run(tmp_path / "run", [label("positive")] * 3, ["positive"] * 3, ["accuracy"])
    change(folder)
    with pytest.raises(DataError, match=message):
        read_run(folder)


@pytest.mark.parametrize(
    ("prediction", "shown"),
    [
        (label("spam", 0.75, ("spam", "ham")), "spam (0.75)"),
        ({"index": 1, "text": "Mars", "score": 0.5, "scores": {"Mars": 0.5, "Venus": 0.5}}, "Mars (0.50)"),
        ({"labels": ["red", "blue"], "scores": {"red": 0.9, "blue": 0.6, "green": 0.1}}, "red, blue"),
        ({"labels": [], "scores": {"red": 0.1}}, "(none)"),
        (summary("A boat."), "A boat."),
        ({"log_likelihood": -12.345, "tokens": 7}, "log-likelihood -12.35 over 7 tokens"),
        ({"something": 1}, '{"something": 1}'),
    ],
)
def test_a_prediction_is_shown_as_a_person_wants_it(prediction: Any, shown: str) -> None:
    assert prediction_text(prediction) == shown
