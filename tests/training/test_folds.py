"""Splits and folds: nothing lost, nothing twice, labels in proportion, groups together, the seed decides."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gptapps.errors import OptionError
from gptapps.training.folds import Fold, split_off, stratified_folds

LABELS = st.lists(st.sampled_from("abc"), min_size=2, max_size=60)
SEEDS = st.integers(0, 2**32)


def parts_of(fold: Fold) -> list[int]:
    return sorted(fold.train + fold.validation)


@given(LABELS, st.integers(2, 6), SEEDS)
def test_every_example_validates_once_and_trains_in_the_other_folds(labels: list[str], folds: int, seed: int) -> None:
    assume(folds <= len(labels))
    made = stratified_folds(labels, folds, seed)
    everything = list(range(len(labels)))
    assert sorted(index for fold in made for index in fold.validation) == everything
    assert all(parts_of(fold) == everything for fold in made)


@given(LABELS, st.integers(2, 6), SEEDS)
def test_folds_are_even_in_size_and_in_every_label(labels: list[str], folds: int, seed: int) -> None:
    assume(folds <= len(labels))
    made = stratified_folds(labels, folds, seed)
    sizes = [len(fold.validation) for fold in made]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        counts = [sum(labels[index] == label for index in fold.validation) for fold in made]
        assert max(counts) - min(counts) <= 1


@given(LABELS, st.floats(0.01, 0.99), SEEDS)
def test_a_share_is_split_off_and_every_label_keeps_an_example(labels: list[str], share: float, seed: int) -> None:
    fold = split_off(labels, share, seed)
    assert parts_of(fold) == list(range(len(labels)))
    assert fold.train
    assert fold.validation
    trained = {labels[index] for index in fold.train}
    if Counter(labels).most_common()[-1][1] > 1:
        assert trained == set(labels)


def test_the_share_keeps_the_labels_proportions() -> None:
    labels = ["a"] * 600 + ["b"] * 300 + ["c"] * 100
    held = Counter(labels[index] for index in split_off(labels, 0.1, seed=3).validation)
    assert held == {"a": 60, "b": 30, "c": 10}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8)), min_size=2, max_size=60), SEEDS)
def test_groups_stay_together(rows: list[tuple[str, int]], seed: int) -> None:
    labels, groups = [label for label, _ in rows], [group for _, group in rows]
    assume(len(set(groups)) > 2)
    for fold in (*stratified_folds(labels, 2, seed, groups), split_off(labels, 0.3, seed, groups)):
        assert parts_of(fold) == list(range(len(rows)))
        assert {groups[index] for index in fold.train}.isdisjoint(groups[index] for index in fold.validation)


def test_the_seed_decides_and_nothing_else() -> None:
    labels = ["a", "b"] * 50
    assert split_off(labels, 0.2, 7) == split_off(labels, 0.2, 7)
    assert split_off(labels, 0.2, 7) != split_off(labels, 0.2, 8)
    assert stratified_folds(labels, 5, 7) == stratified_folds(labels, 5, 7)
    assert stratified_folds(labels, 5, 7) != stratified_folds(labels, 5, 8)


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(OptionError, match="folds is 1"):
        stratified_folds("ab", 1, 0)
    with pytest.raises(OptionError, match="3 folds are asked for, but there are 2"):
        stratified_folds("aab", 3, 0, groups=[1, 1, 2])
    with pytest.raises(OptionError, match=r"share for validation is 1\b"):
        split_off("ab", 1.0, 0)
    with pytest.raises(OptionError, match="can't be split"):
        split_off("aa", 0.5, 0, groups=[1, 1])
