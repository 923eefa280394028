"""The methods that learn by gradients: ``lora``, ``full`` and ``prompt``.

All three learn what the pipeline is asked for when it predicts: a label's wording, an answer, a translation, a summary.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptapps.backbone.low_rank import LowRankAdapter
from gptapps.backbone.packed_texts import can_share_opening
from gptapps.backbone.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, write_low_rank
from gptapps.backbone.virtual_tokens import install_virtual_tokens, write_virtual_tokens
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.model_identity import model_identity
from gptapps.decoding.trained_adapters import model_anew
from gptapps.errors import DataError
from gptapps.heads.language_model import LanguageModelHead
from gptapps.heads.loading import save_language_model
from gptapps.pipelines.base import Setup
from gptapps.task_definition import TaskDefinition
from gptapps.training.carrier import accelerator
from gptapps.training.class_weights import example_weights
from gptapps.training.data import gold_labels
from gptapps.training.gradient_options import (
    VIRTUAL_TOKENS,
    FullOptions,
    GradientSettings,
    LoraOptions,
    PromptOptions,
)
from gptapps.training.lessons import Lesson, LessonMaker
from gptapps.training.loop import Trainer
from gptapps.training.lora import ALL, install_low_rank, merge_learned
from gptapps.training.loss import TargetLoss, mean_loss
from gptapps.training.methods import Job
from gptapps.training.packing import Schedule
from gptapps.training.recipe import Evaluation, Learned
from gptapps.training.validation import Validator

CURVES, LOGS = "curves.json", "logs"


@dataclass(frozen=True, slots=True)
class FittedByGradients:
    """What was learned, and how; see :class:`~gptapps.training.methods.Fitted`.

    Attributes:
        whole: whether the folder holds a whole model that needs no base.
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
        """Write the adapter, or the whole model, and the learning curves; return the names of what predicts."""
        (folder / CURVES).write_text(json.dumps(self.learned.curves()) + "\n", encoding="utf-8")
        if self.logs.is_dir():
            shutil.copytree(self.logs, folder / LOGS)
        config = self.model.backbone.config
        if self.whole:
            return _write_whole(self.model, folder)
        if self.adapter is not None:
            write_low_rank(self.adapter, folder, config, base=self.model.name, dropout=self.dropout)
        if self.virtual is not None:
            write_virtual_tokens(self.virtual, folder, config, base=self.model.name)
        return (ADAPTER_CONFIG, ADAPTER_WEIGHTS)


class LoraMethod:
    """Learns low-rank updates of the matrices, which stay as they are (Hu et al. 2021)."""

    options_type = LoraOptions
    many_processes = True
    stops_early = True

    def fit(self, job: Job) -> FittedByGradients:
        """Learn the updates and merge them into the model in memory.

        Raises:
            DataError: a target that leaves no room for its prompt; names file and line.
            OptionError: an option or a target matrix that the model or device doesn't have.
        """
        rank, dropout = job.options.get("rank", 16), job.options.get("dropout", 0.05)
        model = model_anew(job.model)
        install_low_rank(
            model.backbone,
            targets=job.options.get("targets", (ALL,)),
            rank=rank,
            alpha=job.options.get("alpha", 2.0 * rank),
            dropout=dropout,
            seed=job.seed,
        )
        learned = _learn(job, model, learning_rate=5e-4)
        adapter = merge_learned(model.backbone)
        return _fitted(job, model, learned, whole=job.options.get("merge", False), adapter=adapter, dropout=dropout)


class FullMethod:
    """Learns every weight, in float32."""

    options_type = FullOptions
    many_processes = True
    stops_early = True

    def fit(self, job: Job) -> FittedByGradients:
        """Learn the weights; raises as :meth:`LoraMethod.fit` does."""
        model = model_anew(job.model, own_memory=True)
        learned = _learn(job, model, learning_rate=3e-5)
        return _fitted(job, model, learned, whole=True)


class PromptMethod:
    """Learns embeddings that stand in front of every prompt (Lester, Al-Rfou and Constant 2021)."""

    options_type = PromptOptions
    many_processes = True
    stops_early = True

    def fit(self, job: Job) -> FittedByGradients:
        """Learn the prompt, which begins as tokens of the vocabulary; raises as :meth:`LoraMethod.fit` does."""
        model = model_anew(job.model)
        model.backbone.requires_grad_(False)
        opening = install_virtual_tokens(model.backbone, _first_prompt(job, model))
        model = replace(model, opening=opening)
        learned = _learn(job, model, learning_rate=1e-2)
        virtual = model.backbone.token_embedding.get_parameter("virtual").detach().clone()
        return _fitted(job, model, learned, whole=False, virtual=virtual)


def _learn(job: Job, model: LanguageModel, *, learning_rate: float) -> Learned:
    on_gpu = model.backbone.device.type == "cuda"
    settings = GradientSettings.of(job.options, learning_rate=learning_rate, seed=job.seed, on_gpu=on_gpu)
    kind, setup = type(job.pipeline), job.pipeline.setup
    pipeline = kind(job.pipeline.definition, replace(model, packaged=None), setup)
    data = job.data
    maker = LessonMaker(pipeline, data.evaluator, data.options, limit=settings.max_length)
    weights = example_weights(gold_labels(data, data.train), settings.class_weights).tolist()
    lessons = maker.lessons(data.train, weights)
    carrier = accelerator(model.backbone.device, settings.precision)
    if not isinstance(model.head, LanguageModelHead):
        raise TypeError("a model that learns to write has a vocabulary head")
    loss = TargetLoss(model.backbone, model.head, label_smoothing=settings.label_smoothing)
    schedule = Schedule(
        lessons,
        batch_size=settings.examples_per_update,
        max_tokens=settings.tokens_at_once,
        epochs=settings.epochs,
        seed=job.seed,
        processes=carrier.num_processes,
        share_opening=can_share_opening(model.backbone.config),
    )
    trainer = Trainer(
        module=loss,
        schedule=schedule,
        recipe=settings.recipe,
        carrier=carrier,
        folder=job.folder,
        identity={
            "settings": dataclasses.asdict(settings),
            "options": {name: value for name, value in job.options.items() if name != "checkpoint_every"},
            "model": model_identity(job.model)["sha256"],
            "lessons": _checksum(lessons),
            "validation": [item.where for item in data.validation[: settings.validation_limit]],
            "processes": carrier.num_processes,
        },
        evaluation=_evaluation(job, pipeline.model, setup, settings, maker, loss),
        told=job.progress,
        shard=job.options.get("shard", False),
    )
    learned = trainer.run()
    loss.eval()
    return learned


def _evaluation(
    job: Job,
    model: LanguageModel,
    setup: Setup,
    settings: GradientSettings,
    maker: LessonMaker,
    loss: TargetLoss,
) -> Evaluation | None:
    data = job.data
    items = data.validation[: settings.validation_limit]
    if not items:
        return None
    validator = Validator(job.pipeline, model, items, data.evaluator, setup.options or {}, job.definition.metrics)
    try:
        packs = Schedule(
            maker.lessons(items), batch_size=len(items), max_tokens=settings.tokens_at_once, epochs=1, seed=0
        ).packs(0)
    except DataError:  # the loss is told beside the metrics; what can't be learned can still be predicted
        packs = []

    def measure() -> Mapping[str, float]:
        return {**({"loss": mean_loss(loss, packs)} if packs else {}), **validator()}

    return Evaluation(measure=measure, decides=validator.decides, sign=validator.sign())


def _fitted(
    job: Job,
    model: LanguageModel,
    learned: Learned,
    *,
    whole: bool,
    adapter: LowRankAdapter | None = None,
    dropout: float = 0.0,
    virtual: Tensor | None = None,
) -> FittedByGradients:
    model.backbone.requires_grad_(False)
    for part in (model.backbone, model.head):
        part.to(job.model.backbone.dtype)  # in which it will be loaded and served
    return FittedByGradients(
        replace(model, packaged=None),
        job.definition,
        {"whole": whole},
        {
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


def _first_prompt(job: Job, model: LanguageModel) -> Tensor:
    """Return the embeddings of tokens drawn from the vocabulary, which are nearer to a good prompt than noise."""
    generator = torch.Generator().manual_seed(job.seed)
    count = job.options.get("virtual_tokens", VIRTUAL_TOKENS)
    drawn = torch.randint(model.backbone.config.vocabulary_size, (count,), generator=generator)
    return model.backbone.token_embedding.weight.detach()[drawn].float().clone()


def _checksum(lessons: Sequence[Lesson]) -> str:
    said = hashlib.sha256()
    for lesson in lessons:
        said.update(f"{lesson.prompt} {lesson.target} {lesson.weight}".encode())
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
