"""A LoRA and a head that finds answers, learned together.

The head scores every token of the context as the answer's first and as its last; see
:class:`~gptapps.heads.span.SpanHead`. The backbone is read up to the head's layer, and nothing above it is adapted.

Symbols: T tokens of a pack, N questions, P places of a context, C channels, F features.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from gptapps.backbone.gpt import GPTBackbone
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError, OptionError
from gptapps.evaluation.selection import Item
from gptapps.heads.features import ROUNDING, Features, middle_layers
from gptapps.heads.linear_head import LinearHead
from gptapps.heads.span import SpanHead, place_feature_count, place_features, places_and_before
from gptapps.pipelines.span_inputs import SpanInputs
from gptapps.training.gradient_options import GradientSettings
from gptapps.training.gradient_training import learned_by_gradients
from gptapps.training.loss import mean_loss
from gptapps.training.measuring import trained_pipeline
from gptapps.training.methods import Job
from gptapps.training.packing import Pack, packs_of
from gptapps.training.recipe import Evaluation, Learned
from gptapps.training.span_lessons import found_answers, require_some
from gptapps.training.validation import Validator

_DEPTH = 0.75  # of the head's layer: those above turn to the next word
_SCALED_BY = 64  # questions, drawn by the seed, whose places say how large each feature is
_NAME = "span"


@dataclass(frozen=True, slots=True)
class SpanLesson:
    """A question and its context.

    Attributes:
        ids: tokens of both.
        first: the context's first token.
        target: the answer's first and last token among those of the context.
        weight: what the loss of each is multiplied by.
    """

    ids: tuple[int, ...]
    first: int
    target: tuple[int, int]
    weight: float = 1.0

    @property
    def read(self) -> int:
        """Tokens that the model reads."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class SpanPack(Pack):
    """Questions and contexts one behind the other.

    ``places`` (N,) are those of the contexts' first tokens, from which the answers' first and last tokens, ``targets``
    (2N,), are counted.
    """


def pack_spans(lessons: Sequence[SpanLesson]) -> SpanPack:
    """Lay questions and their contexts one behind the other.

    Example:
        >>> pack_spans([SpanLesson((1, 2, 3, 4), 2, (0, 1)), SpanLesson((5, 6), 1, (0, 0))]).places
        tensor([2, 5])
    """
    starts = accumulate((lesson.read for lesson in lessons), initial=0)
    return SpanPack(
        torch.tensor([token for lesson in lessons for token in lesson.ids]),
        0,
        tuple(lesson.read for lesson in lessons),
        torch.tensor([start + lesson.first for start, lesson in zip(starts, lessons, strict=False)]),
        torch.tensor([place for lesson in lessons for place in lesson.target]),
        torch.tensor([lesson.weight for lesson in lessons for _ in lesson.target]),
    )


class SpanLoss(nn.Module):
    """A backbone and a head over the places of its texts, read to their loss.

    Args:
        backbone: what is trained, or a part of it.
        layer: whose states the head reads.
        limit: the most tokens of a text, for the head to know.
        label_smoothing: share of the probability that any place may have.
    """

    deviation: Tensor

    def __init__(
        self, backbone: GPTBackbone, layer: int, *, limit: int | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.backbone, self.limit, self.label_smoothing = backbone, limit, label_smoothing
        self.features = Features((layer,), ("last",))
        count = place_feature_count(self.features, backbone.config.channels)
        self.weight = nn.Parameter(torch.zeros(2, count, device=backbone.device))  # of features of variance 1
        self.register_buffer("deviation", torch.ones(count, device=backbone.device), persistent=False)

    @torch.no_grad()
    def set_scale(self, packs: Iterable[SpanPack]) -> None:
        """Take the deviation of each feature from the places of some texts."""
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for features in (features for pack in packs for features in self._features(pack)):
            rows = features.cpu().double()
            share = len(rows) / (count + len(rows))
            change = rows.mean(0) - mean
            squares = squares + (rows - rows.mean(0)).square().sum(0) + change.square() * count * share
            mean, count = mean + change * share, count + len(rows)
        deviation = (squares / count).sqrt()
        # What changes by no more than rounding would become noise.
        self.deviation.copy_(torch.where(deviation > ROUNDING * mean.abs(), deviation, 1.0))

    def head(self) -> SpanHead:
        """Return the head that has been learned so far, for features as they come."""
        weight = (self.weight / self.deviation).detach().float().cpu().clone()
        return SpanHead(weight, weight.new_zeros(2), self.features, self.limit).eval()

    def forward(self, pack: SpanPack) -> Tensor:
        """Return the summed loss of the first and the last tokens of a pack's answers, each times its weight."""
        device = self.backbone.device
        targets, weights = (each.to(device).view(-1, 2) for each in (pack.targets, pack.weights))
        total = torch.zeros((), device=device)
        smoothing = self.label_smoothing if self.training else 0.0
        for number, features in enumerate(self._features(pack)):
            with torch.autocast(device.type, enabled=False):
                scores = (features / self.deviation) @ self.weight.T  # (P, 2)
                losses = nn.functional.cross_entropy(
                    scores.T, targets[number], reduction="none", label_smoothing=smoothing
                )
            total = total + (losses * weights[number]).sum()
        return total

    def _features(self, pack: SpanPack) -> Iterator[Tensor]:
        """Yield the features (P, F) of each text's places."""
        tokens = pack.tokens.to(self.backbone.device)
        read = self.backbone.packed_layer_states(tokens, pack.texts, self.features.layers)
        states = torch.stack([each.float() for _, each in read], 1)  # (T, L, C)
        start = 0
        for count, place in zip(pack.texts, pack.places.tolist(), strict=True):
            yield place_features(*places_and_before(states[start : start + count], place - start))
            start += count


def head_layer(job: Job) -> int:
    """Return the layer that the head of a job reads.

    Raises:
        OptionError: the model has none of that number.
    """
    count = job.model.backbone.config.layers
    layer: int = job.options.get("head_layer", middle_layers(count, (_DEPTH,))[0])
    if layer > count:
        raise OptionError(f"There is no layer {layer}: the model {job.model.name!r} has {count}.")
    return layer


def learn_span_head(
    job: Job, model: LanguageModel, settings: GradientSettings, layer: int
) -> tuple[Learned, tuple[str, LinearHead], Mapping[str, Any]]:
    """Learn a head together with what of a model's weights requires a gradient.

    Args:
        job: of a task that finds answers.
        model: whose backbone is ready to learn.
        settings: of the training.
        layer: whose states the head reads.

    Returns:
        How it went, the head with its name, and what is worth knowing beside.

    Raises:
        DataError: no answer stands in its context, or a question leaves no room for one.
    """
    data = job.data
    inputs = SpanInputs(job.definition, model, limit=settings.max_length)

    def lessons_of(items: Sequence[Item]) -> Iterator[SpanLesson]:
        for one in found_answers(items, inputs, data.options.get("language")):
            yield SpanLesson(one.text.ids, one.text.first, (one.begin, one.end))

    lessons = require_some(lessons_of(data.train))
    loss = SpanLoss(model.backbone, layer, limit=inputs.limit, label_smoothing=settings.label_smoothing)
    drawn = random.Random(job.seed).sample(lessons, min(_SCALED_BY, len(lessons)))
    loss.eval().set_scale(pack_spans([lesson]) for lesson in drawn)
    evaluation = _evaluation(job, model, settings, loss, lessons_of)
    learned = learned_by_gradients(job, settings, loss, lessons, pack_spans, evaluation)
    details = {
        "layers": [layer],
        "examples": len(lessons),
        "without_answer_in_context": len(data.train) - len(lessons),
    }
    return learned, (_NAME, loss.head()), details


def _evaluation(
    job: Job,
    model: LanguageModel,
    settings: GradientSettings,
    loss: SpanLoss,
    lessons_of: Callable[[Sequence[Item]], Iterable[SpanLesson]],
) -> Evaluation | None:
    items = job.data.validation[: settings.validation_limit]
    if not items:
        return None
    serving = replace(model, task_head=loss.head(), packaged=None)
    definition = job.definition.model_copy(update={"head": _NAME})
    pipeline = trained_pipeline(definition, serving, job.pipeline.setup.options or {}, job.pipeline.setup)
    options = pipeline.setup.options or {}
    validator = Validator(pipeline, serving, items, job.data.evaluator, options, job.definition.metrics)
    try:
        packs = packs_of(list(lessons_of(items)), settings.tokens_at_once, pack_spans)
    except DataError:  # the loss is told beside the metrics; what can't be learned can still be predicted
        packs = []

    def measure() -> Mapping[str, float]:
        found = validator(replace(serving, task_head=loss.head()))
        return {**({"loss": mean_loss(loss, packs)} if packs else {}), **found}

    return Evaluation(measure=measure, decides=validator.decides, sign=validator.sign())
