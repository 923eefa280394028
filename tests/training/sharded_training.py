"""What each of two processes does that torchrun starts: train with weights that are spread over both.

    torchrun --nproc-per-node 2 sharded_training.py TEXT ROWS BASE FOLDER

Leaves a pre-trained model, another one that was interrupted and resumed, a LoRA, a fully trained model and a LoRA with
a head, and one that each process has a copy of. Prints how many parameters were learned by the others, and how many of
them were spread.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from small_texts import TINY
from torch.distributed.tensor import DTensor

from gptapps.training.finetune import finetune
from gptapps.training.loop import Trainer
from gptapps.training.pretraining.plan import PretrainPlan
from gptapps.training.pretraining.run import train
from gptapps.training.processes import leads

SHARED: dict[str, Any] = {**TINY, "updates": 6, "checkpoint_every": 2, "context": 31, "channels": 30, "heads": 3}
FINETUNE: dict[str, Any] = {"epochs": 1, "examples_per_update": 5, "tokens_at_once": 64, "device": "cpu"}
LORA: dict[str, Any] = {"method": "lora", "rank": 4, "dropout": 0.0}
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("classify", LORA),
    "full": ("classify", {"method": "full"}),
    "reader": ("answer", {**LORA, "with_head": True, "learning_rate": 5e-3}),
}


class Interrupted(Exception):
    """Stands in for the end of a process."""


def interrupt(what: str, done: int, total: int) -> None:
    """End a training behind its third update."""
    if (what, done) == ("train", 3):
        raise Interrupted


def main(text: str, rows: str, base: str, folder: Path) -> None:
    """Train six times."""
    torch.set_num_threads(1)
    seen: list[bool] = []
    prepared = Trainer._prepared

    def watched(trainer: Trainer, optimizer: torch.optim.Optimizer) -> Any:
        learned = [] if not trainer.shard else [one for one in trainer.learning.parameters() if one.requires_grad]
        seen.extend(isinstance(one, DTensor) and one.to_local().numel() < one.numel() for one in learned)
        return prepared(trainer, optimizer)

    Trainer._prepared = watched  # type: ignore[method-assign]
    options = {**SHARED, "shard": True}
    train(PretrainPlan(data=(text,), output=folder / "gpt", options=options))
    train(PretrainPlan(data=(text,), output=folder / "copied", objective="masked", options=SHARED))
    try:
        train(PretrainPlan(data=(text,), output=folder / "resumed", options=options, progress=interrupt))
    except Interrupted:
        train(PretrainPlan(data=(text,), output=folder / "resumed", options=options))
    for name, (task, more) in TRAININGS.items():
        finetune(task, rows, output=folder / name, model=base, shard=True, **FINETUNE, **more)
    if leads():
        sys.stdout.write(f"{len(seen)} {sum(seen)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))
