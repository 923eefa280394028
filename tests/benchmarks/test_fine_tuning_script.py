"""The benchmark of learning refuses to compare different work. No time is judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed.fine_tuning import check_first_losses, lora
from benchmarks.speed.fine_tuning_theirs import _padded
from benchmarks.speed.measuring import BenchmarkError
from benchmarks.speed.settings import Settings


def test_other_first_losses_are_refused() -> None:
    assert check_first_losses({"gptapps": 2.0, "peer": 2.0005}) == pytest.approx(0.0005)
    with pytest.raises(BenchmarkError, match=r"gptapps 2.0000, peer 2.1000"):
        check_first_losses({"gptapps": 2.0, "peer": 2.1})


def test_data_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="--data-root"):
        lora(Settings("smollm2-135m-instruct", 1, 0, 1, tmp_path, tmp_path))


def test_the_peer_learns_targets_only() -> None:
    batch = _padded([{"prompt": [1, 2], "target": [3]}, {"prompt": [4], "target": [5, 6, 7]}])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [4, 5, 6, 7]]
    assert batch["labels"].tolist() == [[-100, -100, 3, -100], [-100, 5, 6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
