"""Several labels for a text: read from lists and tables, trained, served, measured."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from tiny_language_model import one_thread

from gptapps import evaluate, finetune, pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError, OptionError
from gptapps.metrics.label_sets import exact_labels, label_f1, label_macro_f1
from gptapps.training.data import DataPlan, read_training_data

WORDS = {"delay": "two hours late", "comfort": "with soft seats", "information": "as the crew announced"}
QUICK: dict[str, Any] = {"layers": [1, 2], "penalties": [0.01, 0.1, 1.0], "selection_folds": 2}


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Use one thread."""
    with one_thread():
        yield


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Every combination of labels, none of them included."""
    made = []
    for number in range(first, first + count):
        labels = [label for place, label in enumerate(WORDS) if number >> place & 1]
        text = f"Boat {number} came " + ", ".join(WORDS[label] for label in labels)
        made.append({"text": f"{text}.", "label": labels})
    return made


def written(path: Path, given: list[dict[str, Any]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path


def test_a_head_learns_every_label_by_itself(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    data = written(tmp_path / "train.jsonl", rows(64))
    report = finetune("tag", data, model=tiny_chat, output=tmp_path / "head", validation=0.25, **QUICK)
    assert report.score("label_f1").value >= 0.85
    tag = pipeline("tag", model=tmp_path / "head")
    output = tag("Boat 99 came two hours late, as the crew announced.")
    assert output.labels == ("delay", "information")
    assert set(output.scores) == set(WORDS)
    assert all(0 <= score <= 1 for score in output.scores.values())
    test = written(tmp_path / "test.jsonl", rows(16, first=100))
    assert evaluate("tag", test, model=tmp_path / "head", output=tmp_path / "run").score("label_f1").value >= 0.85
    with pytest.raises(OptionError, match="was trained for the labels"):
        tag("Boat 3 came.", labels=["a", "b"])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"learning_rate": 1e-2, "epochs": 16, "patience": 16, "dropout": 0.0}),
        ("full", {"learning_rate": 1e-2, "epochs": 8}),
        ("prompt", {"learning_rate": 1e-1, "epochs": 4}),
    ],
)
def test_gradients_teach_several_labels_and_none(
    method: str, options: dict[str, Any], tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    data = written(tmp_path / "train.jsonl", rows(64))
    report = finetune("tag", data, model=tiny_chat, output=tmp_path / "out", validation=0.25, method=method, **options)
    tag = pipeline("tag", model=tmp_path / "out")
    assert report.details["best"]["label_f1"] == pytest.approx(report.score("label_f1").value)
    assert set(tag("Boat 99 came.").scores) == set(WORDS)
    if method != "prompt":  # which is too little for a random model
        assert report.score("label_f1").value >= 0.75
        assert tag("Boat 99 came.").labels == ()
        found = {tag(row["text"]).labels for row in rows(16)}
        assert {1, 2} <= {len(labels) for labels in found}


def test_class_weights_and_several_labels_do_not_go_together(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    data = written(tmp_path / "train.jsonl", rows(16))
    call: dict[str, Any] = {"model": tiny_chat, "output": tmp_path / "out", "class_weights": "balanced"}
    for method in ("head", "lora"):
        with pytest.raises(OptionError, match="Class weights are for one label a text"):
            finetune("tag", data, method=method, **call)


def test_labels_stand_in_lists_or_with_semicolons_between(tmp_path: Path) -> None:
    lists = written(tmp_path / "train.jsonl", rows(8))
    table = tmp_path / "train.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([row["text"], "; ".join(row["label"])] for row in rows(8) if row["label"])
    read = [read_training_data(DataPlan(task="tag", train=data, validation=None)) for data in (lists, table)]
    assert read[0].labels == read[1].labels == ("comfort", "delay", "information")
    golds = [[item.example.label for item in data.train] for data in read]  # type: ignore[attr-defined]
    assert golds[0][0] == ()
    assert golds[0][1:] == golds[1]


def test_an_untrained_model_ranks_labels(tiny_chat: LanguageModel) -> None:
    output = pipeline("tag", model=tiny_chat, labels=list(WORDS))("Boat 1 came.")
    assert list(output.scores.values()) == sorted(output.scores.values(), reverse=True)
    assert set(output.labels) == {label for label, score in output.scores.items() if score > 0.5}
    with pytest.raises(OptionError, match="needs labels"):
        pipeline("tag", model=tiny_chat)("Boat 1 came.")


one_set = st.lists(st.sampled_from("abcd"), unique=True)


@given(st.data())
def test_the_metrics_are_those_of_scikit_learn(data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(one_set, one_set), min_size=1, max_size=12))
    golds, found = [one for one, _ in pairs], [other for _, other in pairs]
    known = sorted({label for labels in golds + found for label in labels})
    assume(len(known) != 1)  # of one label scikit-learn makes a classification with two
    truth, guess = (np.array([[label in one for label in known] for one in several]) for several in (golds, found))
    assert exact_labels(found, golds, resamples=0).value == pytest.approx(
        accuracy_score(truth, guess) if known else 1.0
    )
    for metric, average in ((label_f1, "micro"), (label_macro_f1, "macro")):
        expected = f1_score(truth, guess, average=average, zero_division=0.0) if known else 0.0
        assert metric(found, golds, resamples=0).value == pytest.approx(expected)


def test_metrics_refuse_one_label_instead_of_a_list() -> None:
    with pytest.raises(DataError, match="Prediction 1 is 'a'"):
        label_f1(["a"], [["a"]])
    with pytest.raises(DataError, match="1 predictions and 2 references"):
        exact_labels([["a"]], [["a"], []])
