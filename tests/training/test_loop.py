"""The training loop: what it learns, that it goes on exactly, and that how the work is split changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from toy_training import table_of, toy_trainer, trained

from gptapps.errors import OptionError
from gptapps.training.recipe import Evaluation


class Killed(Exception):
    """Stands in for the end of a process."""


def killed_after(update: int) -> object:
    def told(what: str, done: int, total: int) -> None:
        if done == update:
            raise Killed

    return told


def test_the_loss_falls(tmp_path: Path) -> None:
    _, learned = trained(tmp_path, evaluation=None)
    losses = [row["loss"] for row in learned.updates]
    assert len(losses) == 10
    assert sum(losses[-3:]) < sum(losses[:3])


@pytest.mark.parametrize(("update", "every"), [(1, 1), (5, 1), (3, 2), (9, 4)])
def test_resumed_is_uninterrupted(update: int, every: int, tmp_path: Path) -> None:
    expected, whole = trained(tmp_path / "whole", checkpoint_every=every)
    with pytest.raises(Killed):
        toy_trainer(tmp_path / "cut", killed_after(update), checkpoint_every=every).run()
    resumed, learned = trained(tmp_path / "cut", checkpoint_every=every)
    assert torch.equal(resumed, expected)
    assert learned.updates == whole.updates
    assert learned.evaluations == whole.evaluations
    again, _ = trained(tmp_path / "cut", checkpoint_every=every)  # finished: nothing is left to do
    assert torch.equal(again, expected)


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    values = iter([1.0, 3.0, 2.0, 2.5])
    seen = []

    trainer = toy_trainer(tmp_path)

    def measure() -> dict[str, float]:
        seen.append(table_of(trainer).clone())
        return {"score": next(values)}

    trainer.evaluation = Evaluation(measure=measure, decides="score", sign=1)
    learned = trainer.run()
    assert learned.best == learned.evaluations[1]
    assert torch.equal(table_of(trainer), seen[1])
    assert not torch.equal(seen[1], seen[3])


def test_training_ends_when_nothing_gets_better(tmp_path: Path) -> None:
    values = iter([0.5, 0.7, 0.6, 0.9])
    evaluation = Evaluation(measure=lambda: {"error": next(values)}, decides="error", sign=-1)
    _, learned = trained(tmp_path, evaluation=evaluation, patience=2)
    assert learned.stopped
    assert len(learned.evaluations) == 3
    assert learned.best is not None
    assert learned.best["error"] == 0.5


def test_smaller_packs_learn_the_same(tmp_path: Path) -> None:
    one, _ = trained(tmp_path / "one", max_tokens=1000, dropout=0.0)
    many, _ = trained(tmp_path / "many", max_tokens=1, dropout=0.0)
    torch.testing.assert_close(one, many)


def test_another_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(OptionError, match="differs in recipe"):
        trained(tmp_path, learning_rate=0.2)


def test_a_loss_that_explodes_is_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"Update \d+ has a loss of .* lower learning_rate"):
        trained(tmp_path, learning_rate=1e30, warmup=0.0)


def test_curves_and_logs(tmp_path: Path) -> None:
    _, learned = trained(tmp_path)
    curves = json.loads(json.dumps(learned.curves()))
    assert [row["update"] for row in curves["updates"]] == list(range(1, 11))
    assert set(curves["updates"][0]) == {"update", "loss", "learning_rate", "gradient_norm", "targets"}
    assert [row["epoch"] for row in curves["evaluations"]] == [0.6, 1.0, 1.6, 2.0]
    assert any((tmp_path / "logs").iterdir())
