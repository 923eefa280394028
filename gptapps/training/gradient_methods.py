"""The methods that learn by gradients: ``lora``, ``full`` and ``prompt``.

All three learn what the pipeline is asked for when it predicts: a label's wording, an answer, a translation, a summary.
A LoRA may learn a head beside instead; see :mod:`gptapps.training.span_gradients`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from gptapps.backbone.packed_texts import can_share_opening
from gptapps.backbone.virtual_tokens import install_virtual_tokens
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.trained_adapters import model_anew
from gptapps.errors import DataError
from gptapps.heads.language_model import LanguageModelHead
from gptapps.pipelines.base import Setup
from gptapps.training.class_weights import example_weights
from gptapps.training.data import gold_labels
from gptapps.training.dropout import install_dropout
from gptapps.training.gradient_options import (
    VIRTUAL_TOKENS,
    FullOptions,
    GradientSettings,
    LoraOptions,
    PromptOptions,
)
from gptapps.training.gradient_training import FittedByGradients, fitted, learned_by_gradients
from gptapps.training.lessons import LessonMaker
from gptapps.training.lora import ALL, install_low_rank, merge_learned
from gptapps.training.loss import TargetLoss, mean_loss
from gptapps.training.methods import Job
from gptapps.training.packing import pack, packs_of
from gptapps.training.recipe import Evaluation, Learned
from gptapps.training.span_gradients import head_layer, learn_span_head
from gptapps.training.validation import Validator


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
        layer = head_layer(job) if job.options.get("with_head") else None
        rank, dropout = job.options.get("rank", 16), job.options.get("dropout", 0.05)
        model = _frozen(job.model)
        install_low_rank(
            model.backbone,
            targets=job.options.get("targets", (ALL,)),
            rank=rank,
            alpha=job.options.get("alpha", 2.0 * rank),
            dropout=dropout,
            seed=job.seed,
            blocks=layer,
        )
        settings = _settings(job, learning_rate=5e-4 if layer is None else 1e-3)
        head, details = None, None
        if layer is None:
            learned = _learn(job, model, settings)
        else:
            learned, head, details = learn_span_head(job, model, settings, layer)
        return fitted(
            job,
            model,
            learned,
            whole=job.options.get("merge", False),
            adapter=merge_learned(model.backbone),
            dropout=dropout,
            head=head,
            details=details,
        )


class FullMethod:
    """Learns every weight, in float32."""

    options_type = FullOptions
    many_processes = True
    stops_early = True

    def fit(self, job: Job) -> FittedByGradients:
        """Learn the weights; raises as :meth:`LoraMethod.fit` does."""
        model = model_anew(job.model, own_memory=True)
        install_dropout(model.backbone, job.options.get("dropout", 0.0))
        learned = _learn(job, model, _settings(job, learning_rate=3e-5))
        return fitted(job, model, learned, whole=True)


class PromptMethod:
    """Learns embeddings that stand in front of every prompt (Lester, Al-Rfou and Constant 2021)."""

    options_type = PromptOptions
    many_processes = True
    stops_early = True

    def fit(self, job: Job) -> FittedByGradients:
        """Learn the prompt, which begins as tokens of the vocabulary; raises as :meth:`LoraMethod.fit` does."""
        model = _frozen(job.model)
        opening = install_virtual_tokens(model.backbone, _first_prompt(job, model))
        model = replace(model, opening=opening)
        install_dropout(model.backbone, job.options.get("dropout", 0.0))
        learned = _learn(job, model, _settings(job, learning_rate=1e-2))
        virtual = model.backbone.token_embedding.get_parameter("virtual").detach().clone()
        return fitted(job, model, learned, whole=False, virtual=virtual)


def _frozen(model: LanguageModel) -> LanguageModel:
    """Return the model made of new layers, none of whose weights is learned; a vocabulary head of its own neither."""
    anew = model_anew(model)
    for part in (anew.backbone, anew.head):
        part.requires_grad_(False)
    return anew


def _settings(job: Job, *, learning_rate: float) -> GradientSettings:
    on_gpu = job.model.backbone.device.type == "cuda"
    return GradientSettings.of(job.options, learning_rate=learning_rate, seed=job.seed, on_gpu=on_gpu)


def _learn(job: Job, model: LanguageModel, settings: GradientSettings) -> Learned:
    kind, setup = type(job.pipeline), job.pipeline.setup
    pipeline = kind(job.pipeline.definition, replace(model, packaged=None), setup)
    data = job.data
    maker = LessonMaker(pipeline, data.evaluator, data.options, limit=settings.max_length)
    weights = example_weights(gold_labels(data, data.train), settings.class_weights).tolist()
    lessons = maker.lessons(data.train, weights)
    if not isinstance(model.head, LanguageModelHead):
        raise TypeError("a model that learns to write has a vocabulary head")
    loss = TargetLoss(model.backbone, model.head, label_smoothing=settings.label_smoothing)
    packed = partial(pack, share_opening=can_share_opening(model.backbone.config))
    evaluation = _evaluation(job, pipeline.model, setup, settings, maker, loss)
    return learned_by_gradients(job, settings, loss, lessons, packed, evaluation)


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
        packs = packs_of(maker.lessons(items), settings.tokens_at_once, pack)
    except DataError:  # the loss is told beside the metrics; what can't be learned can still be predicted
        packs = []

    def measure() -> Mapping[str, float]:
        return {**({"loss": mean_loss(loss, packs)} if packs else {}), **validator()}

    return Evaluation(measure=measure, decides=validator.decides, sign=validator.sign())


def _first_prompt(job: Job, model: LanguageModel) -> Tensor:
    """Return the embeddings of tokens drawn from the vocabulary, which are nearer to a good prompt than noise."""
    generator = torch.Generator().manual_seed(job.seed)
    count = job.options.get("virtual_tokens", VIRTUAL_TOKENS)
    drawn = torch.randint(model.backbone.config.vocabulary_size, (count,), generator=generator)
    return model.backbone.token_embedding.weight.detach()[drawn].float().clone()
