"""Small things to train: a module of one matrix, and a task that a tiny model learns in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from data_files import write_rows
from torch import Tensor, nn

from gptapps.decoding.language_model import LanguageModel
from gptapps.pipelines.base import Setup
from gptapps.registry import PIPELINES
from gptapps.training.carrier import accelerator
from gptapps.training.data import DataPlan, TrainingData, read_training_data
from gptapps.training.lessons import Lesson
from gptapps.training.loop import Trainer
from gptapps.training.methods import Job
from gptapps.training.packing import Pack, Schedule, pack
from gptapps.training.recipe import Evaluation, Learned, Recipe
from gptapps.training.trained_definition import trained_definition

VOCABULARY = 7


class NextToken(nn.Module):
    """Learns which token follows which, with dropout, so that random numbers matter."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = dropout
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(VOCABULARY, VOCABULARY, generator=generator))

    def forward(self, pack: Pack) -> Tensor:
        """Return the summed loss of a pack's targets."""
        logits = nn.functional.dropout(self.table[pack.tokens[pack.places]], self.dropout, self.training)
        return (nn.functional.cross_entropy(logits, pack.targets, reduction="none") * pack.weights).sum()


def toy_lessons(count: int = 20) -> list[Lesson]:
    """Return lessons in which each token is followed by the next."""
    draw = random.Random(0)
    firsts = [draw.randrange(VOCABULARY) for _ in range(count)]
    return [
        Lesson((first,), tuple((first + step) % VOCABULARY for step in range(1, draw.randint(2, 5))))
        for first in firsts
    ]


def toy_trainer(folder: Path, told: Callable[[str, int, int], None] | None = None, **changes: Any) -> Trainer:
    """Return a trainer of a :class:`NextToken`, evaluated twice an epoch."""
    module = NextToken(changes.get("dropout", 0.2))
    recipe: dict[str, Any] = {"learning_rate": 0.1, "evaluations": 2, "seed": 3}
    recipe |= {name: value for name, value in changes.items() if name in Recipe.__dataclass_fields__}
    carrier = accelerator(torch.device("cpu"))
    schedule = Schedule(
        toy_lessons(),
        batch_size=4,
        max_tokens=changes.get("max_tokens", 8),
        epochs=2,
        seed=3,
        packed=pack,
        processes=carrier.num_processes,
    )

    def measure() -> Mapping[str, float]:
        return {"sum": float(module.table.detach().diagonal(1).sum())}

    return Trainer(
        module=module,
        schedule=schedule,
        recipe=Recipe(**recipe),
        carrier=carrier,
        folder=folder,
        identity={"recipe": sorted(recipe.items())},
        evaluation=changes.get("evaluation", Evaluation(measure=measure, decides="sum", sign=1)),
        told=told,
    )


def table_of(trainer: Trainer) -> Tensor:
    """Return what a trainer's module has learned."""
    assert isinstance(trainer.module, NextToken)
    return trainer.module.table.detach()


def trained(folder: Path, **changes: Any) -> tuple[Tensor, Learned]:
    """Train and return what was learned, and how it went."""
    trainer = toy_trainer(folder, **changes)
    learned = trainer.run()
    return table_of(trainer), learned


def colours(folder: Path, count: int = 48) -> TrainingData:
    """Return a classification that one word decides."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        label = ("warm", "cold")[number % 2]
        word = {"warm": ("sun", "fire"), "cold": ("snow", "ice")}[label][draw.randrange(2)]
        rows.append({"text": f"{number} {word}", "label": label})
    return read_training_data(DataPlan(task="classify", train=write_rows(folder / "rows.jsonl", rows), validation=0.25))


def job(data: TrainingData, model: LanguageModel, folder: Path, **options: Any) -> Job:
    """Return a training of a task on a model."""
    definition = trained_definition(data)
    kind = PIPELINES.get(definition.pipeline)
    known = {name: value for name, value in data.options.items() if name in kind.options_type.__annotations__}
    return Job(
        definition=definition,
        pipeline=kind(definition, model, Setup(options=known)),
        data=data,
        options=options,
        seed=0,
        folder=folder / "work",
        shared=folder / "shared",
    )
