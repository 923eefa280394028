"""Few examples of each label, drawn by a seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from data_files import mails, questions, write_rows
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import OptionError
from gptapps.training.data import DataPlan, gold_labels, read_training_data
from gptapps.training.few_examples import draw_per_label, few_examples

LABELS = st.lists(st.sampled_from("abc"), max_size=40).map(lambda labels: labels + list("abc") * 4)


@given(LABELS, st.integers(1, 4), st.integers(0, 1000))
def test_each_label_gets_as_many(labels: list[str], per_label: int, seed: int) -> None:
    drawn = draw_per_label(labels, per_label, seed)
    assert list(drawn) == sorted(set(drawn))
    assert Counter(labels[index] for index in drawn) == dict.fromkeys("abc", per_label)


@given(LABELS, st.integers(0, 1000))
def test_more_keep_what_fewer_drew(labels: list[str], seed: int) -> None:
    assert set(draw_per_label(labels, 2, seed)) <= set(draw_per_label(labels, 4, seed))


SETS = st.lists(st.lists(st.sampled_from("abc"), unique=True).map(tuple), max_size=40).map(
    lambda sets: sets + [(label,) for label in "abc"] * 4
)


@given(SETS, st.integers(1, 4), st.integers(0, 1000))
def test_of_several_labels_each_gets_at_least_as_many(sets: list[tuple[str, ...]], per_label: int, seed: int) -> None:
    drawn = draw_per_label(sets, per_label, seed)
    assert list(drawn) == sorted(set(drawn))
    counts = Counter(label for index in drawn for label in sets[index])
    assert all(counts[label] >= per_label for label in "abc")
    without = [index for index, labels in enumerate(sets) if not labels]
    assert len(set(without) & set(drawn)) == min(per_label, len(without))
    assert len(drawn) <= 4 * per_label


def test_seeds_draw_differently() -> None:
    labels = ["a", "b"] * 100
    assert len({draw_per_label(labels, 8, seed) for seed in range(5)}) == 5


def test_a_label_with_too_few_is_named() -> None:
    with pytest.raises(OptionError, match="'b' has 1"):
        draw_per_label("aab", 2, 0)
    with pytest.raises(OptionError, match="per_label is 0"):
        draw_per_label("aab", 0, 0)


def test_validation_stays_as_it_was(tmp_path: Path) -> None:
    data = read_training_data(DataPlan(task="classify", train=write_rows(tmp_path / "a.jsonl", mails(40)), seed=2))
    few = few_examples(data, 3, seed=1)
    assert Counter(gold_labels(few, few.train)) == {"routine": 3, "urgent": 3}
    assert few.validation == data.validation
    assert set(few.train) <= set(data.train)


def test_a_task_without_labels_is_refused(tmp_path: Path) -> None:
    data = read_training_data(DataPlan(task="answer", train=write_rows(tmp_path / "a.jsonl", questions())))
    with pytest.raises(OptionError, match="no labels"):
        few_examples(data, 2, seed=0)
