"""The pages' content; how they look in a browser is tested beside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import scripted_model
from written_runs import answer, label, summary, write_run

from gptapps import evaluate
from gptapps.cli.app import run as command
from gptapps.errors import DataError, ResourceError
from gptapps.evaluation.recorded import read_run
from gptapps.evaluation.report.cards import prediction_view, worst_and_best
from gptapps.evaluation.report.numbers import by_length, calibration_gap, cell, reliability, score_rows
from gptapps.evaluation.report.page import run_page, write_page, write_report
from gptapps.evaluation.report.plots import LengthBin, length_plot
from gptapps.metrics.score import Score
from gptapps.registry import METRICS

GOLDS = ["positive", "negative"] * 15


def sentiment_run(folder: Path, **more: Any) -> Path:
    predictions = [label("positive", 0.6 + place / 100) for place in range(len(GOLDS))]
    return write_run(folder, predictions, GOLDS, ["accuracy", "log_loss"], **more)


def test_evaluate_writes_the_report_and_the_command_writes_it_again(
    task: str, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluate(task, rows, model=scripted_model(), baselines=["majority_label"])
    page = report.folder / "report.html"
    written = page.read_text(encoding="utf-8")
    for part in (*(f"{score.value:.3f}" for score in report.scores), "majority label", report.signature, "好 line"):
        assert part in written
    for heading in ("Scores", "Confusion matrix", "Reliability", "Score against input length", "Manifest"):
        assert f">{heading}</h" in written
    page.unlink()
    assert command(["report", str(report.folder)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text(encoding="utf-8") == written  # the same run, the same bytes


def test_a_folder_without_a_finished_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="name the folder of a run"):
        write_report(tmp_path)
    assert command(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(ResourceError, match=r"page.html can't be written \(no such file or directory\)"):
        write_page(tmp_path / "absent" / "page.html", "")


def test_text_from_elsewhere_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script></style><img src=x onerror=alert(2)>\"'&amp;"
    folder = write_run(
        tmp_path / "run",
        [summary(f"{evil} a boat")] * 3,
        [(f"the boat {evil}", evil)] * 3,
        ["rouge1"],
        model=evil,
        prompts=[f"{evil} {place}" for place in range(3)],
        names={"model": evil, "data": evil},
    )
    page = run_page(read_run(folder))
    assert not re.search(r"<(script|img)", page)
    assert page.count("</style>") == 1
    assert "&lt;script&gt;alert(1)" in page


def test_half_a_surrogate_pair_does_not_stop_the_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [summary("boat \ud83d")] * 2, [("a boat",)] * 2, ["rouge1"])
    assert "</mark> ?" in write_report(folder).read_text(encoding="utf-8")


def test_one_example_is_enough(tmp_path: Path) -> None:
    page = run_page(read_run(write_run(tmp_path / "run", [answer("Mars")], [("Mars", "red Mars")], ["exact_match"])))
    assert "over 1 example." in page
    assert "Score against input length" not in page


def test_labels_are_counted_with_their_intervals(tmp_path: Path) -> None:
    page = run_page(read_run(sentiment_run(tmp_path / "run", options={"labels": ["positive", "negative"]})))
    cells = re.findall(r'--share: [\d.]+">(\d+)<span class="range">(\d+)–(\d+)</span>', page)
    assert [int(count) for count, _, _ in cells] == [15, 0, 15, 0]
    assert cells[1][1:] == cells[3][1:] == ("0", "0")
    assert all(int(low) < 15 < int(high) for _, low, high in cells[::2])
    assert "confusion_matrix|labels:positive,negative|n:30|bootstrap:1000|" in page


def test_labels_are_counted_where_all_examples_choose_from_the_same(tmp_path: Path) -> None:
    own = [label("a", 0.7, ("a", "b")), label("c", 0.7, ("c", "d"))]
    choices = read_run(write_run(tmp_path / "choices", own, ["a", "d"], ["accuracy"]))
    assert "Confusion matrix" not in run_page(choices)
    assert sum(one.count for one in reliability(choices)) == 2
    texts = read_run(write_run(tmp_path / "texts", [summary("a")], [("a",)], ["rouge1"]))
    assert "Confusion matrix" not in run_page(texts)
    assert reliability(texts) == ()


def test_the_gap_of_the_reliability_diagram_is_the_calibration_error(tmp_path: Path) -> None:
    run = read_run(sentiment_run(tmp_path / "run"))
    metric = METRICS.get("calibration_error")
    expected = metric(run.predictions(metric), GOLDS, resamples=0).value
    assert calibration_gap(reliability(run)) == pytest.approx(expected)


def test_bins_of_length_hold_every_example_once(tmp_path: Path) -> None:
    prompts = ["x" * (1 + place * 7 % 30) for place in range(30)]
    run = read_run(sentiment_run(tmp_path / "run", prompts=prompts))
    bins = by_length(run, METRICS.get("accuracy"))
    assert [one.count for one in bins] == [10, 10, 10]
    assert (bins[0].shortest, bins[-1].longest) == (1, 30)
    assert np.mean([one.value for one in bins]) == pytest.approx(run.scores[0].value)
    assert all(one.low is not None and one.low <= one.value <= (one.high or 0) for one in bins)


def test_the_worst_are_surely_wrong_and_the_best_surely_right(tmp_path: Path) -> None:
    run = read_run(sentiment_run(tmp_path / "run"))
    worst, best = worst_and_best(run.examples, run.scores, 3)
    assert [example.index for example in worst] == [29, 27, 25]
    assert [example.index for example in best] == [28, 26, 24]
    few = worst_and_best(run.examples[:3], run.scores, 3)
    assert [[example.index for example in side] for side in few] == [[1, 0], [2]]


def test_the_nearest_gold_is_the_one_that_is_marked() -> None:
    view = prediction_view(summary("the red boat"), ("a house", "a red boat", "a red boat"))
    assert [one.text for one in view.gold if one.overlap] == ["red boat"]
    assert view.other_golds == ("a house", "a red boat")
    assert prediction_view(summary("x " * 3000), ("x",)).is_marked is False  # too long to compare


def test_several_labels_are_right_where_all_of_them_are() -> None:
    prediction = {"labels": ["red", "blue"], "scores": {"red": 0.9, "blue": 0.6, "green": 0.1}}
    assert prediction_view(prediction, ("blue", "red")).right is True
    view = prediction_view(prediction, ("red",))
    assert (view.right, [one.text for one in view.stretches]) == (False, ["red, blue"])
    assert [name for name, _, is_gold in view.probabilities if is_gold] == ["red"]


def test_a_text_that_is_scored_is_input_and_is_shown(tmp_path: Path) -> None:
    def likelihood(tokens: int) -> dict[str, Any]:
        numbers = {"log_likelihood": -3.0 * tokens, "perplexity": 20.0, "bits_per_byte": 1.5}
        return {**numbers, "tokens": tokens, "bytes": 3 * tokens, "greedy": False}

    texts = [f"A boat {'sails ' * count}home." for count in range(4)]
    folder = write_run(
        tmp_path / "run", [likelihood(5 + count) for count in range(4)], texts, ["perplexity"], prompts=[""] * 4
    )
    run = read_run(folder)
    (one,) = by_length(run, METRICS.get("perplexity"))
    assert (one.shortest, one.longest) == (5, 8)
    page = run_page(run)
    assert all(text in page for text in texts)
    assert "log likelihood" in page


def test_values_far_apart_are_drawn_on_a_logarithmic_scale() -> None:
    bins = [LengthBin(1, 3, 3, 30.0, 2.0, 900.0)]
    far = length_plot([1, 2, 3], [2.0, 30.0, 12_000.0], bins, "perplexity", "one <two>")
    near = length_plot([1, 2, 3], [0.1, 0.2, 0.3], [LengthBin(1, 3, 3, 0.2, None, None)], "rouge1", "")
    assert all(f">{tick}<" in far for tick in ("10", "100", "1,000", "10,000"))
    assert ">0.20<" in near
    assert '<title id="length-title">one &lt;two&gt;</title>' in far
    same = length_plot([1, 2], [1.0, 1.0], [LengthBin(1, 2, 2, 1.0, 1.0, 1.0)], "rouge1", "")
    assert "input tokens" in same


def test_no_answer_is_shown_as_such(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [answer("")] * 2, [(), ("Mars",)], ["exact_match"])
    page = run_page(read_run(folder))
    assert page.count("(nothing)") == 2
    assert page.count("(no answer is right)") == 1


def test_a_right_label_is_shown_however_unlikely() -> None:
    names = tuple("abcdefgh")
    view = prediction_view(label("a", 0.93, names), "h")
    assert (view.right, len(view.probabilities), view.probabilities[-1][0]) == (False, 6, "h")
    assert view.probabilities[-1][2] is True


def test_values_lie_on_one_scale_and_signs_are_shown() -> None:
    def score(value: float, low: float | None = None, high: float | None = None) -> Score:
        return Score("accuracy", value, low, high, 9, "", True)

    (row,) = score_rows([score(0.5, 0.4, 0.6)], [[score(0.25)], []])
    mine, other, absent = row.cells
    assert mine is not None
    assert other is not None
    assert absent is None
    assert other.at == pytest.approx((mine.at or 0) / 2, abs=0.01)
    assert (mine.value, mine.low, mine.high, other.low) == ("0.500", "0.400", "0.600", None)
    assert cell(-0.25, None, None, (-1, 1), signed=True).value == "−0.250"
    assert (cell(float("nan"), None, None, (0, 1)).value, cell(float("nan"), None, None, (0, 1)).at) == ("–", None)
