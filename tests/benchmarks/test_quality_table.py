"""The READMEs' tables of quality are those of the results beside the benchmarks, and made as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_language_model import write_tiny_model

from benchmarks.quality.__main__ import SUITES, latest_results, main
from benchmarks.quality.table import LINES, quality_table
from gptapps.decoding.language_model import LanguageModel
from gptapps.evaluation.suite import load_suite

ROOT = Path(__file__).resolve().parents[2]


def score(name: str, value: float, *, n: int = 300, higher: bool = True) -> dict[str, Any]:
    return {"name": name, "value": value, "low": value - 0.1, "high": value + 0.1, "n": n, "higher_is_better": higher}


def entry(name: str, scores: list[dict[str, Any]], **baselines: dict[str, Any]) -> dict[str, Any]:
    beside = {baseline: [one] for baseline, one in baselines.items()}
    return {"entry": name, "state": "done", "report": {"scores": scores, "baselines": beside}}


def row(table: str, title: str) -> str:
    return next(line for line in table.split("\n") if line.startswith(f"| {title} |"))


@pytest.mark.parametrize(("page", "language"), [("README.md", "en"), ("README.zh-CN.md", "zh")])
def test_the_readmes_show_the_latest_results(page: str, language: str) -> None:
    assert quality_table(latest_results(), language) in (ROOT / page).read_text(encoding="utf-8")


def test_every_data_set_of_the_suites_has_a_line() -> None:
    names = {entry.name for suite in SUITES for entry in load_suite(suite).entries}
    assert {line.entry for line in LINES} == names - {"arc_challenge"}  # of which there is no copy


def test_the_best_baseline_stands_beside_the_models() -> None:
    accuracies = [score("accuracy", 0.5), score("accuracy", 0.75)]
    results = [
        {
            "model": name,
            "entries": [entry("arc_easy", [one], first_choice=score("accuracy", 0.25), longest_choice=best)],
        }
        for name, one, best in zip("ab", accuracies, [score("accuracy", 0.3)] * 2, strict=True)
    ]
    table = quality_table(results, "en")
    assert table.startswith("| data | metric | `a` | `b` | baseline |\n|---|---|---|---|---|\n")
    assert row(table, "ARC-Easy") == (
        "| ARC-Easy | accuracy | 0.500 [0.400, 0.600] (300) | 0.750 [0.650, 0.850] (300) | "
        "0.300 [0.200, 0.400] longest choice |"
    )
    assert row(table, "SST-2") == "| SST-2 | accuracy | – | – | none |"
    assert row(quality_table(results, "zh"), "ARC-Easy").endswith("最长选项 |")


def test_samples_that_differ_have_a_baseline_each_and_the_lower_one_where_that_is_better() -> None:
    bits = [
        {"compression": score("bits_per_byte", 3.0, n=n, higher=False), "copy_source": score("bits_per_byte", low, n=n)}
        for n, low in ((5, 2.5), (3, 2.0))
    ]
    results = [
        {"model": "a", "entries": [entry("wikitext2", [score("bits_per_byte", 1.0, n=5, higher=False)], **one)]}
        for one in bits
    ]
    assert row(quality_table(results, "en"), "WikiText-2").endswith(
        "2.500 [2.400, 2.600] copy of the source (5); 2.000 [1.900, 2.100] copy of the source (3) |"
    )


def test_what_a_model_cannot_do_is_said() -> None:
    unable = {"state": "not able", "report": None}
    results = [{"model": "a", "entries": [{"entry": "tnews", **unable}, {"entry": "wmt14_en-fr", **unable}]}]
    table = quality_table(results, "en")
    assert row(table, "TNEWS") == "| TNEWS | accuracy | no Chinese | none |"
    assert row(table, "WMT14 en-fr") == "| WMT14 en-fr | BLEU | can't translate | none |"


def test_what_has_no_interval_no_value_or_failed() -> None:
    alone = {**score("accuracy", 1.0, n=1), "low": None, "high": None}
    undefined = {**score("token_f1", 1.0), "value": None}
    failed = {"entry": "rte", "state": "failed", "report": None}
    results = [{"model": "a", "entries": [entry("sst2", [alone]), entry("squad_v1", [undefined]), failed]}]
    table = quality_table(results, "en")
    assert row(table, "SST-2") == "| SST-2 | accuracy | 1.000 (1) | none |"
    assert row(table, "SQuAD 1.1") == "| SQuAD 1.1 | F1 | – | none |"
    assert row(table, "RTE") == "| RTE | accuracy | failed | none |"


@pytest.mark.parametrize("limit", ["clasification=5", "classification", "classification=0", "classification=x"])
def test_a_limit_that_names_no_suite_or_number_is_refused(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--data-root", ".", "--limit", limit])
    assert (
        f"--limit takes SUITE=N with one of classification, question_answering, translation, summarization, "
        f"language_modelling, not {limit!r}" in capsys.readouterr().err
    )


@pytest.mark.data
def test_suites_are_measured_into_a_file(tmp_path: Path, data_root: Path, default_model: LanguageModel) -> None:
    folder = write_tiny_model(tmp_path / "model", default_model.tokenizer)
    given = ["--data-root", str(data_root), "--model", str(folder), "--suite", "language_modelling", "--threads", "1"]
    given += ["--limit", "language_modelling=1", "--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "q.json")]
    assert main(given) == 0
    written = json.loads((tmp_path / "q.json").read_text("utf-8"))
    assert [one["entry"] for one in written["entries"]] == ["lambada", "wikitext2"]
    assert [one["report"]["counts"]["examples"] for one in written["entries"]] == [1, 1]
    assert [one["limit"] for one in written["entries"]] == [1, 1]
    assert str(data_root) not in json.dumps(written)
    other = {"entry": "sst2", "state": "done", "report": None}
    (tmp_path / "q.json").write_text(json.dumps({**written, "entries": [other, *written["entries"]]}))
    assert main(given) == 0
    assert json.loads((tmp_path / "q.json").read_text("utf-8"))["entries"] == [other, *written["entries"]]
