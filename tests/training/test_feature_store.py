"""Features that are computed once: by folds and hyperparameters, and after a kill inside a write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from toy_labels import write_toy_rows

from gptapps import finetune
from gptapps.decoding.features import read_features
from gptapps.decoding.language_model import LanguageModel
from gptapps.heads.features import Features
from gptapps.pipelines import head_reading
from gptapps.training import feature_store
from gptapps.training.feature_store import FeatureStore
from gptapps.training.row_store import KEY_BYTES, RowStore

TEXTS = ((5, 17), (300,), (42, 7, 9), (5, 17), (8,))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every text that a backbone reads."""
    seen: list[tuple[int, ...]] = []

    def watched(model: LanguageModel, texts: Sequence[Sequence[int]], features: Features) -> Tensor:
        seen.extend(map(tuple, texts))
        return read_features(model, texts, features)

    for reading in (feature_store, head_reading):
        monkeypatch.setattr(reading, "read_features", watched)
    return seen


@pytest.mark.usefixtures("light")
def test_folds_and_hyperparameters_read_each_text_once(
    read: list[tuple[int, ...]], tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    rows = write_toy_rows(tmp_path / "rows.jsonl", 30)
    finetune("classify", rows, model=tiny_chat, output=tmp_path / "head", folds=3, layers=[1, 2], selection_folds=2)
    assert len(set(read)) == 30
    assert len(read) == 30 + 2 * 30  # and again to compare what is in memory with the folder that was written


@pytest.mark.usefixtures("light")
def test_several_seeds_read_what_they_are_measured_on_once(
    read: list[tuple[int, ...]], tiny_chat: LanguageModel, tmp_path: Path
) -> None:
    rows = write_toy_rows(tmp_path / "rows.jsonl", 40)
    validation = write_toy_rows(tmp_path / "validation.jsonl", 20, seed=9)
    finetune(
        "classify",
        rows,
        validation=validation,
        model=tiny_chat,
        output=tmp_path / "head",
        per_label=3,
        seeds=3,
        layers=[1],
        selection_folds=2,
    )
    assert len(read) == len(set(read)) + 2 * 20  # the rows by which memory and folder are compared


@pytest.mark.usefixtures("light")
def test_rows_are_mapped_and_read_once(read: list[tuple[int, ...]], tiny_chat: LanguageModel, tmp_path: Path) -> None:
    both = Features((1, 2), ("last", "mean"))
    first = FeatureStore(tmp_path, tiny_chat, both).rows(TEXTS, both)
    assert sorted(read) == sorted(set(TEXTS))
    again = FeatureStore(tmp_path, tiny_chat, both)
    np.testing.assert_array_equal(again.rows(TEXTS, both), first)
    channels = tiny_chat.backbone.config.channels
    np.testing.assert_array_equal(again.rows(TEXTS, Features((2,), ("mean",))), first[:, 3 * channels :])
    assert len(read) == len(set(TEXTS))
    assert isinstance(again._store.mapped(), np.memmap)
    FeatureStore(tmp_path, tiny_chat, Features((1,), ("last",))).rows(TEXTS, Features((1,), ("last",)))
    assert len(read) == 2 * len(set(TEXTS))  # others than those that lie there


@given(count=st.integers(1, 6), rows_cut=st.integers(0, 200), keys_cut=st.integers(0, 100))
def test_whatever_a_kill_leaves_is_whole_rows(
    count: int, rows_cut: int, keys_cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, identity = tmp_path_factory.mktemp("store"), {"of": "numbers"}
    keys = [bytes([number]) * KEY_BYTES for number in range(count)]
    rows = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    RowStore(folder, identity, 3).add(keys, rows)
    for name, cut in (("rows.f32", rows_cut), ("rows.keys", keys_cut)):
        os.truncate(folder / name, max(0, (folder / name).stat().st_size - cut))
    left = RowStore(folder, identity, 3)
    known = [key for key in keys if key in left]
    assert known == keys[: len(known)]
    assert len(known) == min((12 * count - min(rows_cut, 12 * count)) // 12, max(16 * count - keys_cut, 0) // 16)
    left.add(keys[len(known) :], rows[len(known) :])
    np.testing.assert_array_equal(left.mapped()[left.places(keys)], rows)


def test_rows_of_something_else_are_thrown_away(tmp_path: Path) -> None:
    row: Any = np.ones((1, 2), np.float32)
    RowStore(tmp_path, {"of": "one"}, 2).add([b"k" * KEY_BYTES], row)
    assert b"k" * KEY_BYTES in RowStore(tmp_path, {"of": "one"}, 2)
    assert b"k" * KEY_BYTES not in RowStore(tmp_path, {"of": "another"}, 2)
