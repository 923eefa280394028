"""Runs held against each other: numbers, changed examples, and what can't be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted import scripted_model
from written_runs import Prediction, answer, label, summary, translation, write_run

from gptapps import compare, evaluate
from gptapps.cli.app import run as command
from gptapps.errors import DataError, GPTAppsError, OptionError, UnknownNameError
from gptapps.evaluation.comparison import Comparison
from gptapps.metrics.significance import paired_difference
from gptapps.registry import METRICS

GOLDS = ["positive", "negative"] * 20
FLIP = {"positive": "negative", "negative": "positive"}


def labels(wrong: Sequence[int], probability: float = 0.9) -> list[Prediction]:
    """All right but for some."""
    return [label(FLIP[gold] if place in wrong else gold, probability) for place, gold in enumerate(GOLDS)]


def two(tmp_path: Path, **second: Any) -> Comparison:
    first = write_run(tmp_path / "one", labels([1, 2, 3, 4]), GOLDS, ["accuracy", "log_loss"])
    other = {"model": "other", **second}
    predictions, golds = other.pop("predictions", labels([4], 0.8)), other.pop("golds", GOLDS)
    metrics = other.pop("metrics", ["accuracy", "log_loss"])
    switches = {name: other.pop(name) for name in ("different_prompts", "examples") if name in other}
    return compare(first, write_run(tmp_path / "two", predictions, golds, metrics, **other), **switches)


def test_values_and_differences(tmp_path: Path) -> None:
    comparison = two(tmp_path)
    accuracy = comparison.metric("accuracy")
    assert [score.value for score in accuracy.scores] == [0.9, 0.975]
    (difference,) = accuracy.differences
    assert difference.paired.value == pytest.approx(0.075)
    assert (difference.better, difference.worse, difference.same) == (3, 0, 37)
    assert difference.paired.randomization_p == pytest.approx(0.25, abs=0.02)  # 2 of 8 ways to swap three examples
    (loss,) = comparison.metric("log_loss").differences
    assert (loss.better, loss.worse, loss.same) == (4, 36, 0)  # lower is better
    assert (comparison.n, comparison.task, comparison.data) == (40, "sentiment", "reviews")
    assert [run.name for run in comparison.runs] == ["tiny", "other"]
    assert comparison.runs[1].differs == ("the model",)
    with pytest.raises(UnknownNameError, match=r"There is no metric 'acuracy'\. Did you mean 'accuracy'"):
        comparison.metric("acuracy")


def test_intervals_are_those_of_the_runs_own_reports(task: str, rows: Path) -> None:
    reports = [evaluate(task, rows, model=scripted_model(seed=seed), output=f"run-{seed}") for seed in (0, 1)]
    comparison = compare(*reports)
    for place, report in enumerate(reports):
        assert tuple(metric.scores[place] for metric in comparison.metrics) == report.scores
    assert comparison.metrics[0].differences[0].paired.value == 0
    assert comparison.metrics[0].differences[0].paired.randomization_p == 1
    assert comparison.changed == ()


PAIRS: dict[str, tuple[Any, Any, Any]] = {
    "rouge1": (summary("The boat sails home."), summary("A boat at sea."), ("The boat sails.",)),
    "exact_match": (answer("Mars"), answer("the planet Mars"), ("Mars",)),
    "token_f1": (answer("Mars"), answer("the planet Mars"), ("Mars", "red Mars")),
    "bleu": (translation("Das Boot fährt heim."), translation("Ein Boot."), ("Das Boot fährt nach Hause.",)),
    "macro_f1": (label("positive"), label("negative"), "positive"),
    "bits_per_byte": (
        {"log_likelihood": -5.0, "perplexity": 2.0, "bits_per_byte": 1.0, "tokens": 3, "bytes": 9, "greedy": False},
        {"log_likelihood": -9.0, "perplexity": 3.0, "bits_per_byte": 2.0, "tokens": 4, "bytes": 9, "greedy": False},
        None,
    ),
}


@pytest.mark.parametrize("metric", sorted(PAIRS))
def test_every_kind_of_metric_is_compared(tmp_path: Path, metric: str) -> None:
    good, bad, gold = PAIRS[metric]
    golds = [gold] * 12
    sides = [[good] * 12, [bad if place % 3 == 0 else good for place in range(12)]]
    folders = [
        write_run(tmp_path / name, side, golds, [metric], model=name) for name, side in zip("ab", sides, strict=True)
    ]
    found = compare(*folders).metric(metric)
    assert found.scores[0].value != found.scores[1].value
    (difference,) = found.differences
    assert (difference.better, difference.worse, difference.same) == (0, 4, 8)
    assert difference.paired.value == found.scores[1].value - found.scores[0].value
    if metric != "bleu":
        assert difference.paired.randomization_p == pytest.approx(1 / 8, abs=0.02)


def test_sacrebleu_s_metrics_are_tested_as_sacrebleu_does(tmp_path: Path) -> None:
    sides = [[translation("Das Boot fährt heim.")] * 3, [translation("Ein Boot.")] * 3]
    golds = [("Das Boot fährt heim.",)] * 3
    folders = [write_run(tmp_path / str(place), side, golds, ["chrf"]) for place, side in enumerate(sides)]
    found = compare(*folders, trials=200).metric("chrf").differences[0].paired
    chrf = METRICS.get("chrf")
    rows = [chrf.statistics([one["text"] for one in side], golds, language="en") for side in sides]
    assert found == paired_difference(rows[0], rows[1], chrf.aggregate, as_sacrebleu=True, trials=200)
    assert found.randomization_p == 1 / 201


def test_the_examples_that_changed_most_come_first(tmp_path: Path) -> None:
    predictions = labels([7])
    predictions[9] = label("negative", 0.99)  # surely right, more so than before
    comparison = two(tmp_path, predictions=predictions, examples=3)
    assert comparison.changes == 6
    assert {example.index for example in comparison.changed} <= {1, 2, 3, 4, 7}
    everything = two(tmp_path / "again", predictions=predictions, examples=99).changed
    assert everything[-1].index == 9
    first = next(example for example in everything if example.index == 7)
    assert first.gold == GOLDS[7]
    assert [prediction["label"] for prediction in first.predictions] == ["negative", "positive"]
    assert [scores["accuracy"] for scores in first.scores] == [1.0, 0.0]
    assert "number 7" in first.prompts[0]


def test_three_runs_are_compared_with_the_first(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / name, labels(wrong), GOLDS, ["accuracy"], model="one")
        for name, wrong in (("a", [1, 2]), ("b", [1]), ("c", [1, 2, 3]))
    ]
    comparison = compare(*folders)
    assert [run.name for run in comparison.runs] == ["a", "b", "c"]  # the model's name doesn't tell them apart
    assert [one.paired.value for one in comparison.metrics[0].differences] == pytest.approx([0.025, -0.025])
    assert "They aren't corrected for several comparisons." in comparison.table
    assert [len(example.predictions) for example in comparison.changed] == [3, 3]


def test_runs_of_one_name_in_folders_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name / "run", labels([1]), GOLDS, ["accuracy"]) for name in "ab"]
    assert [run.name for run in compare(*folders).runs] == [str(folder) for folder in folders]


def test_perplexity_of_models_with_different_tokens_is_left_out(tmp_path: Path) -> None:
    sides = [PAIRS["bits_per_byte"][0], PAIRS["bits_per_byte"][1]]
    folders = [
        write_run(tmp_path / str(place), [side] * 4, [None] * 4, ["perplexity", "bits_per_byte"])
        for place, side in enumerate(sides)
    ]
    comparison = compare(*folders)
    assert [metric.name for metric in comparison.metrics] == ["bits_per_byte"]
    assert comparison.notes[0].startswith("perplexity is left out: the models split the texts into different tokens")
    assert comparison.notes[0] in comparison.table
    alone = [
        write_run(tmp_path / f"p{place}", [side] * 4, [None] * 4, ["perplexity"]) for place, side in enumerate(sides)
    ]
    with pytest.raises(OptionError, match="have nothing to compare: perplexity is left out"):
        compare(*alone)


DATA = {"sha256": "d" * 64, "columns": {}, "where": {}, "label_names": {}, "prepare": None}
PROMPT = {"sha256": "x", "prompts": "p" * 64, "chat_template": "other", "system": None, "shots": None}

READ_BY_TEMPLATES = {"max_words": 60, "source": "en", "target": "fr", "labels": ["negative", "positive"]}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"data": {**DATA, "sha256": "e"}}, "because the checksums of their data differ: evaluate both on the same"),
        ({"data": {**DATA, "columns": {"text": "b"}}}, "because their data was read with other columns"),
        ({"first": 1}, "because 2 rows are in one of them only \\(row 0 for one\\): evaluate both with the same limit"),
        ({"golds": [*GOLDS[:-1], "positive"]}, "because the gold of row 39 differs"),
        ({"language": "zh"}, "because their metrics take the texts to be in en and zh"),
        ({"metrics": ["macro_f1"]}, "have no metric in common"),
        (
            {"predictions": [summary("x")] * 40, "golds": [("x",)] * 40, "metrics": ["rouge1"]},
            "because they are of different tasks",
        ),
        ({"prompt": {**PROMPT, "prompts": "q"}}, "The prompts of .* differ \\(the task's templates\\)"),
        ({"prompt": {**PROMPT, "system": "Be brief."}}, "The prompts of .* differ \\(system\\)"),
        ({"options": {"language": "zh"}}, "The prompts of .* differ \\(language\\)"),
        *(
            ({"options": {"overflow": "truncate", name: value}}, f"The prompts of .* differ \\({name}\\): evaluate")
            for name, value in READ_BY_TEMPLATES.items()
        ),
        (
            {"prompt": {**PROMPT, "chat_template": "tiny"}, "prompts": ["another"] * 40},
            "The prompts of .* differ \\(row 0\\): evaluate with the same, or compare them on purpose with different_",
        ),
    ],
)
def test_what_can_not_be_compared_is_refused_in_one_sentence(
    tmp_path: Path, second: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptionError, match=message):
        two(tmp_path, **second)
    assert command(["compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_two_models_take_one_prompt_in_two_wordings(tmp_path: Path) -> None:
    assert two(tmp_path, prompts=["in other words"] * 40).runs[1].differs == ("the model",)


def test_an_option_that_no_template_reads_is_no_other_prompt(tmp_path: Path) -> None:
    options = {"overflow": "error", "max_new_tokens": 9, "choices": ["yes", "no"]}
    assert two(tmp_path, options=options).runs[1].differs[0] == "the model"


def test_different_prompts_are_compared_on_purpose(tmp_path: Path) -> None:
    comparison = two(
        tmp_path, prompt={**PROMPT, "system": "Be brief."}, prompts=["Briefly!"] * 40, different_prompts=True
    )
    assert comparison.runs[1].differs == ("the model", "the prompt")
    assert comparison.changed[0].prompts[1] == "Briefly!"
    assert "prompt of other: Briefly!" in comparison.examples_text
    with pytest.raises(OptionError, match="the checksums of their data differ"):
        two(tmp_path / "more", data={**DATA, "sha256": "e"}, different_prompts=True)


def test_mistakes_are_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", labels([1]), GOLDS, ["accuracy"])
    other = write_run(tmp_path / "other", labels([1]), GOLDS, ["accuracy"])
    mistakes: list[tuple[list[Path], dict[str, Any], type[GPTAppsError], str]] = [
        ([folder], {}, OptionError, "A comparison needs two runs or more"),
        ([folder, folder / "." / ""], {}, OptionError, "is named twice"),
        ([folder, tmp_path], {}, DataError, "name the folder of a run"),
        ([folder, other], {"examples": -1}, OptionError, "examples is -1"),
        ([folder, other], {"trials": -1}, OptionError, "trials can't be negative"),
    ]
    for folders, options, kind, message in mistakes:
        with pytest.raises(kind, match=message):
            compare(*folders, **options)
    (other / "report.json").unlink()
    with pytest.raises(DataError, match="isn't finished"):
        compare(folder, other)


def test_the_command_writes_table_examples_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = two(tmp_path)
    names = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert command(["compare", *names, "--examples", "1", "--html", "page.html"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(expected.table)
    assert "\n1 of the 40 examples that changed:\n\nrow " in out
    assert out.endswith("\npage.html\n")
    assert Path("page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert command(["compare", *names, "--json", "--trials", "0", "--resamples", "0"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["metrics"][0]["name"] == "accuracy"
    assert read["metrics"][0]["differences"][0]["paired"] == {
        "value": pytest.approx(0.075),
        "low": None,
        "high": None,
        "bootstrap_p": None,
        "randomization_p": None,
    }
    assert len(read["changed"]) == 5
    assert json.loads(json.dumps(expected.as_dict())) == expected.as_dict()
    assert command(["compare", names[0]]) == 2
    assert "A comparison needs two runs" in capsys.readouterr().err


def test_a_table_has_a_line_for_each_run_of_each_metric(tmp_path: Path) -> None:
    lines = two(tmp_path).table.split("\n")
    assert " ".join(lines[0].split()) == "metric run value difference bootstrap p randomization p better/worse/same"
    assert lines[1].startswith("accuracy  tiny   0.900 [0.8")
    assert "+0.075 [+0.000, " in lines[2]
    assert lines[2].endswith("3/0/37")
    assert lines[6] == "other differs in: the model"
