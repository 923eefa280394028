"""Training data: read as evaluate reads it, split by the seed, and no model anywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from data_files import mails, questions, write_rows

from gptapps.errors import DataError, OptionError, UnknownNameError
from gptapps.examples import Example
from gptapps.pipelines.generation import GenerationPipeline
from gptapps.training.data import DataPlan, data_folds, gold_labels, read_training_data


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """Forty mails, half of them urgent."""
    return write_rows(tmp_path / "train.jsonl", mails(40))


def test_a_share_is_set_aside_with_the_labels_in_proportion(train: Path) -> None:
    data = read_training_data(DataPlan(task="classify", train=train, validation=0.25, seed=5))
    assert (len(data.train), len(data.validation)) == (30, 10)
    assert sorted(gold_labels(data, data.validation)) == ["routine"] * 5 + ["urgent"] * 5
    assert data.labels == ("routine", "urgent")
    assert data.options["labels"] == ["routine", "urgent"]
    assert {item.index for item in data.train}.isdisjoint(item.index for item in data.validation)


def test_the_same_text_never_stands_on_both_sides(tmp_path: Path) -> None:
    rows = [{**row, "text": str(row["text"]).upper()} for row in mails(40)]
    data = read_training_data(DataPlan(task="classify", train=write_rows(tmp_path / "a.jsonl", mails(40) + rows)))
    sides = [{item.example.text.casefold() for item in items} for items in (data.train, data.validation)]
    assert sides[0].isdisjoint(sides[1])
    assert sides[1]


def test_questions_about_one_context_stay_together(tmp_path: Path) -> None:
    rows = [{**row, "question": f"{row['question']}{again}"} for row in questions(8) for again in range(3)]
    data = read_training_data(DataPlan(task="answer", train=write_rows(tmp_path / "a.jsonl", rows), validation=0.3))
    sides = [{item.example.context for item in items} for items in (data.train, data.validation)]
    assert sides[0].isdisjoint(sides[1])
    assert len(data.validation) in (6, 9)


def test_other_data_validates_whole_and_the_limit_is_for_the_rows_to_learn_from(tmp_path: Path, train: Path) -> None:
    other = write_rows(tmp_path / "other.jsonl", [{"text": f"Fresh {n}", "label": "urgent"} for n in range(7)])
    data = read_training_data(DataPlan(task="classify", train=train, validation=other, limit=10))
    assert (len(data.train), len(data.validation)) == (10, 7)
    assert {name: one.rows for name, one in data.checksums.items()} == {"train": 10, "validation": 7}
    assert read_training_data(DataPlan(task="classify", train=train, validation=None)).validation == ()


def test_columns_labels_and_rows_are_chosen_as_evaluate_chooses_them(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    lines = [f"Review {n},{n % 2},{'zh' if n % 5 == 0 else 'en'}" for n in range(20)]
    path.write_text("body,stars,tongue\n" + "\n".join(lines) + "\n", encoding="utf-8")
    data = read_training_data(
        DataPlan(
            task="sentiment",
            train=path,
            validation=None,
            columns={"text": "body", "label": "stars"},
            where={"tongue": "en"},
            label_names={"0": "negative", "1": "positive"},
        )
    )
    assert len(data.train) == 16
    assert data.train[0].example.text == "Review 1"
    assert gold_labels(data, data.train[:2]) == ["positive", "negative"]


def test_a_hub_data_set_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows(list):  # type: ignore[type-arg]
        features = {"label": SimpleNamespace(names=["routine", "urgent"])}  # noqa: RUF012

    hub = ModuleType("datasets")
    hub.load_dataset = lambda *_, **__: Rows({"text": f"Mail {n}", "label": n % 2} for n in range(10))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", hub)
    data = read_training_data(DataPlan(task="classify", train="hub:mails/office:train", validation=0.2))
    assert data.labels == ("routine", "urgent")
    assert data.train[0].where.startswith("hub:mails/office:train row ")


def test_folds_try_every_example_once(train: Path) -> None:
    data = read_training_data(DataPlan(task="classify", train=train))
    folds = list(data_folds(data, 4, seed=1))
    assert [len(fold.validation) for fold in folds] == [10] * 4
    tried = [item.index for fold in folds for item in fold.validation]
    assert sorted(tried) == list(range(40))
    assert all(sorted(gold_labels(fold, fold.validation)) == ["routine"] * 5 + ["urgent"] * 5 for fold in folds)


def test_what_it_was_made_of_is_json(train: Path) -> None:
    told = json.loads(json.dumps(read_training_data(DataPlan(task="classify", train=train)).as_dict()))
    assert told["checksums"]["train"]["name"] == "train.jsonl"
    assert told["examples"] == {"train": 36, "validation": 4}


def test_the_first_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    rows = [*mails(4), {"text": "No label here."}]
    with pytest.raises(DataError, match=r"a\.jsonl:5: nothing stands in the column 'label'"):
        read_training_data(DataPlan(task="classify", train=write_rows(tmp_path / "a.jsonl", rows)))


@pytest.mark.parametrize(
    ("plan", "error", "message"),
    [
        ({"validation": 1.5}, OptionError, "validation is 1.5"),
        ({"validation": True}, OptionError, "validation is True"),
        ({"limit": 0}, OptionError, "limit is 0"),
        ({"columns": {"txt": "body"}}, OptionError, "Did you mean 'text'"),
        ({"options": {"lables": ["a", "b"]}}, OptionError, "Did you mean 'labels'"),
        ({"task": "classfy"}, UnknownNameError, "Did you mean 'classify'"),
        ({"task": "generate"}, DataError, "column 'completions'"),
        ({"train": "nowhere.jsonl"}, DataError, "nowhere.jsonl can't be read"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(
    train: Path, plan: dict[str, object], error: type[Exception], message: str
) -> None:
    known: dict[str, object] = {"task": "classify", "train": train}
    with pytest.raises(error, match=message):
        read_training_data(DataPlan(**{**known, **plan}))  # type: ignore[arg-type]


def test_a_task_whose_examples_hold_nothing_to_learn_is_refused(train: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GenerationPipeline, "example_type", Example)  # as a plug-in's might be
    with pytest.raises(OptionError, match="'generate' has no examples to learn from"):
        read_training_data(DataPlan(task="generate", train=train))
