"""Learning where answers begin and end from frozen hidden states.

Each question is learned from its answer's first and last token and some other places of the context, drawn by the
seed: the right choice among drawn candidates gives the same weights on average as that among all (McFadden 1978,
"Modelling the choice of residential location", section 6), and much less has to be kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import torch

from gptapps.decoding.features import length_batches
from gptapps.heads.features import Features
from gptapps.heads.linear_head import LinearHead
from gptapps.heads.span import SpanHead, place_features
from gptapps.pipelines.span_inputs import SpanInput, SpanInputs, read_places
from gptapps.training.candidate_logit import Questions, candidate_weights, share_right
from gptapps.training.feature_store import reader_identity, text_key
from gptapps.training.folds import Fold, stratified_folds
from gptapps.training.head_method import HeadSettings, as_tensors
from gptapps.training.logistic import Scaling
from gptapps.training.methods import Job
from gptapps.training.row_store import FloatArray, RowStore
from gptapps.training.selection import FEW_PENALTY, selected
from gptapps.training.span_lessons import found_answers, require_some

_PLACES = 32  # of a question that are learned from
_BEFORE = -1  # stands for the mean state before the context among the places of a text
_SELECTION_QUESTIONS = 2_000


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A question whose answer stands in its context: the text, the places to learn from, and the right two."""

    text: SpanInput
    places: tuple[int, ...]
    begin: int
    end: int
    context: str


def learn_spans(job: Job, settings: HeadSettings) -> tuple[LinearHead, str, Mapping[str, Any]]:
    """Learn a head that finds answers; see :class:`~gptapps.training.head_method.Learner`."""
    lessons = require_some(_lessons(job))
    store = _PlaceStore(job, settings.features)
    began = monotonic()
    store.read(lessons)
    read_seconds = monotonic() - began
    began = monotonic()
    some = lessons[:_SELECTION_QUESTIONS]
    folds = _folds(some, settings.selection_folds, job.seed)

    def right(features: Features, penalties: Sequence[float]) -> dict[float, float]:
        rows = store.rows(some, features)
        scaled = Scaling.of(rows).apply(rows)
        begins, ends = (share_right(scaled, _questions(some, side), folds, penalties) for side in ("begin", "end"))
        return {penalty: (begins[penalty] + ends[penalty]) / 2 for penalty in penalties}

    chosen, penalty, table = selected(
        settings,
        criterion="ends_found",
        by_features=lambda features: right(features, [FEW_PENALTY])[FEW_PENALTY],
        by_penalty=lambda features: right(features, settings.penalties),
        progress=job.progress,
    )
    rows = store.rows(lessons, chosen)
    scaling = Scaling.of(rows)
    scaled = scaling.apply(rows)
    weights = [candidate_weights(scaled, _questions(lessons, side), penalty) for side in ("begin", "end")]
    weight, _ = as_tensors(*scaling.undone(np.stack(weights), np.zeros(2)))
    details = {
        "layers": list(chosen.layers),
        "penalty": penalty,
        "chosen_by": "ends_found",
        "selection": table,
        "examples": len(lessons),
        "without_answer_in_context": len(job.data.train) - len(lessons),
        "read_seconds": round(read_seconds, 2),
        "fit_seconds": round(monotonic() - began, 2),
    }
    return SpanHead(weight, weight.new_zeros(2), chosen), "span", details


def _lessons(job: Job) -> Iterator[_Lesson]:
    inputs = SpanInputs(job.definition, job.model)
    for one in found_answers(job.data.train, inputs, job.data.options.get("language")):
        draw = random.Random(f"{job.seed} {one.where} {one.example.question}")
        drawn = _drawn(len(one.text.offsets), (one.begin, one.end), draw)
        yield _Lesson(one.text, drawn, drawn.index(one.begin), drawn.index(one.end), one.example.context)


def _drawn(count: int, ends: tuple[int, int], draw: random.Random) -> tuple[int, ...]:
    others = [place for place in range(count) if place not in ends]
    return tuple(sorted({*ends, *draw.sample(others, min(_PLACES - 2, len(others)))}))


def _questions(lessons: Sequence[_Lesson], side: str) -> Questions:
    counts = np.array([len(lesson.places) for lesson in lessons])
    return Questions(counts, np.array([getattr(lesson, side) for lesson in lessons]))


def _folds(lessons: Sequence[_Lesson], most: int, seed: int) -> tuple[Fold, ...]:
    contexts = [lesson.context for lesson in lessons]
    return stratified_folds([0] * len(lessons), min(most, len(set(contexts))), seed, contexts)


class _PlaceStore:
    """Hidden states at places of texts, and the mean of those before the context."""

    def __init__(self, job: Job, features: Features) -> None:
        self._job, self._features = job, features
        self._shape = (len(features.layers), job.model.backbone.config.channels)
        identity = {**reader_identity(job.model), "layers": list(features.layers), "of": "places"}
        self._store = RowStore(job.shared / "places", identity, int(np.prod(self._shape)))

    def read(self, lessons: Sequence[_Lesson]) -> None:
        """Read the texts of which a place is wanted that isn't there."""
        waiting = [lesson for lesson in lessons if not all(key in self._store for key in _keys(lesson))]
        done = 0
        for batch in length_batches([len(lesson.text.ids) for lesson in waiting]):
            several = [waiting[number] for number in batch]
            read = read_places(self._job.model, [lesson.text for lesson in several], self._features)
            found: dict[bytes, FloatArray] = {}
            for lesson, (places, before) in zip(several, read, strict=True):
                rows = torch.cat([before.unsqueeze(0), places[list(lesson.places)]]).flatten(1).numpy()
                new = zip(_keys(lesson), rows, strict=True)
                found.update((key, row) for key, row in new if key not in self._store)
            self._store.add(list(found), np.stack(list(found.values())))
            done += len(batch)
            if self._job.progress is not None:
                self._job.progress("reading", done, len(waiting))

    def rows(self, lessons: Sequence[_Lesson], features: Features) -> FloatArray:
        """Return the features (R, F) of all places of all lessons."""
        mapped = self._store.mapped().reshape(-1, *self._shape)
        layers = [self._features.layers.index(layer) for layer in features.layers]
        parts = []
        for lesson in lessons:
            states = torch.from_numpy(mapped[self._store.places(_keys(lesson))][:, layers])
            parts.append(place_features(states[1:], states[0]).numpy())
        return np.concatenate(parts)


def _keys(lesson: _Lesson) -> list[bytes]:
    return [text_key(lesson.text.ids, place) for place in (_BEFORE, *lesson.places)]
