"""One training by gradients, whatever is learned: from lessons to weights to files."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gptapps.backbone.low_rank import LowRankAdapter
from gptapps.backbone.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, write_low_rank
from gptapps.backbone.safetensors_files import write_safetensors
from gptapps.backbone.virtual_tokens import write_virtual_tokens
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.model_identity import model_identity
from gptapps.decoding.trained_heads import HEAD_FILE
from gptapps.heads.language_model import LanguageModelHead
from gptapps.heads.linear_head import LinearHead
from gptapps.heads.loading import save_language_model
from gptapps.task_definition import TaskDefinition
from gptapps.training.carrier import accelerator
from gptapps.training.curves import write_curves
from gptapps.training.gradient_options import GradientSettings
from gptapps.training.loop import Trainer
from gptapps.training.methods import Job
from gptapps.training.packing import L, Pack, Schedule
from gptapps.training.recipe import Evaluation, Learned

LOGS = "logs"


@dataclass(frozen=True, slots=True)
class FittedByGradients:
    """What was learned, and how; see :class:`~gptapps.training.methods.Fitted`.

    Attributes:
        whole: whether the folder holds a whole model that needs no base.
        adapter, dropout: the low-rank updates, and what they were learned with, where those were learned.
        virtual: the learned prompt, where there is one.
    """

    model: LanguageModel
    definition: TaskDefinition
    settings: Mapping[str, Any]
    details: Mapping[str, Any]
    learned: Learned
    logs: Path
    whole: bool
    adapter: LowRankAdapter | None = None
    dropout: float = 0.0
    virtual: Tensor | None = None

    def write(self, folder: Path) -> Sequence[str]:
        """Write what predicts and the learning curves; return the names of what predicts."""
        write_curves(folder, self.learned, next(iter(self.definition.metrics), "loss"))
        if self.logs.is_dir():
            shutil.copytree(self.logs, folder / LOGS)
        head = self.model.task_head
        if head is not None:
            write_safetensors(folder / HEAD_FILE, head.state_dict(), {})
        return [*self._write_model(folder), *([HEAD_FILE] if head is not None else [])]

    def _write_model(self, folder: Path) -> Sequence[str]:
        config = self.model.backbone.config
        if self.whole:
            return _write_whole(self.model, folder)
        if self.adapter is not None:
            write_low_rank(self.adapter, folder, config, base=self.model.name, dropout=self.dropout)
        if self.virtual is not None:
            write_virtual_tokens(self.virtual, folder, config, base=self.model.name)
        return (ADAPTER_CONFIG, ADAPTER_WEIGHTS)


def learned_by_gradients(
    job: Job,
    settings: GradientSettings,
    module: nn.Module,
    lessons: Sequence[L],
    packed: Callable[[Sequence[L]], Pack],
    evaluation: Evaluation | None,
) -> Learned:
    """Change a module's weights until they are learned, or go on where an earlier call was killed.

    Args:
        job: the training.
        settings: of it.
        module: returns the summed loss of a pack; its parameters that require a gradient are learned.
        lessons: what to learn from.
        packed: lays some of them one behind the other.
        evaluation: how the model is judged; None where there is nothing to judge it on.
    """
    carrier = accelerator(job.model.backbone.device, settings.precision)
    schedule = Schedule(
        lessons,
        batch_size=settings.examples_per_update,
        max_tokens=settings.tokens_at_once,
        epochs=settings.epochs,
        seed=job.seed,
        packed=packed,
        processes=carrier.num_processes,
    )
    trainer = Trainer(
        module=module,
        schedule=schedule,
        recipe=settings.recipe,
        carrier=carrier,
        folder=job.folder,
        identity={
            "settings": dataclasses.asdict(settings),
            "options": {name: value for name, value in job.options.items() if name != "checkpoint_every"},
            "model": model_identity(job.model)["sha256"],
            "lessons": _checksum(lessons),
            "validation": [item.where for item in job.data.validation[: settings.validation_limit]],
            "processes": carrier.num_processes,
        },
        evaluation=evaluation,
        told=job.progress,
        shard=job.options.get("shard", False),
    )
    learned = trainer.run()
    module.eval()
    return learned


def fitted(
    job: Job,
    model: LanguageModel,
    learned: Learned,
    *,
    whole: bool,
    adapter: LowRankAdapter | None = None,
    dropout: float = 0.0,
    virtual: Tensor | None = None,
    head: tuple[str, LinearHead] | None = None,
    details: Mapping[str, Any] | None = None,
) -> FittedByGradients:
    """Return a model that learned, ready to be served and written.

    Args:
        job: the training.
        model: with what was learned in its weights.
        learned: how it went.
        whole, adapter, dropout, virtual: see :class:`FittedByGradients`.
        head: the name and the head that was learned with it.
        details: worth knowing beside the learning curves.
    """
    for part in (model.backbone, model.head):
        part.requires_grad_(False)
        part.to(job.model.backbone.dtype)  # in which it will be loaded and served
    settings: dict[str, Any] = {"whole": whole}
    definition = job.definition
    model = replace(model, task_head=None)  # the base may be a trained model with a head for something else
    if head is not None:
        name, task_head = head
        model = replace(model, task_head=task_head.eval())
        definition = definition.model_copy(update={"head": name})
        settings["head"] = task_head.settings()
    return FittedByGradients(
        replace(model, packaged=None),
        definition,
        settings,
        {
            **(details or {}),
            "updates": len(learned.updates),
            "evaluations": [dict(row) for row in learned.evaluations],
            "best": learned.best and dict(learned.best),
            "stopped_early": learned.stopped,
            "seconds": round(learned.seconds, 1),
        },
        learned,
        job.folder / LOGS,
        whole,
        adapter,
        dropout,
        virtual,
    )


def _checksum(lessons: Sequence[Any]) -> str:
    said = hashlib.sha256()
    for lesson in lessons:
        said.update(repr(lesson).encode())
    return said.hexdigest()


def _write_whole(model: LanguageModel, folder: Path) -> Sequence[str]:
    if not isinstance(model.head, LanguageModelHead):
        raise TypeError("a whole model has a vocabulary head")
    before = set(folder.iterdir())
    tokenizer = model.tokenizer
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": list(tokenizer.eos_ids), "pad_token_id": tokenizer.pad_id}
    save_language_model(model.backbone, model.head, folder, token_ids=ids)
    tokenizer.save(folder)
    return sorted(path.name for path in set(folder.iterdir()) - before)
