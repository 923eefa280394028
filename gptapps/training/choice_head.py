"""Learning to choose an answer from frozen features of the question with each choice behind it."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from gptapps.examples import ChoiceExample
from gptapps.heads.features import Features
from gptapps.heads.linear_head import LinearHead
from gptapps.heads.multiple_choice import MultipleChoiceHead
from gptapps.pipelines.head_inputs import HeadInputs
from gptapps.pipelines.head_multiple_choice import choice_inputs
from gptapps.training.candidate_logit import Questions, candidate_weights, share_right
from gptapps.training.head_method import HeadSettings, as_tensors, feature_store
from gptapps.training.logistic import Scaling, rotated
from gptapps.training.methods import Job
from gptapps.training.selection import FEW_PENALTY, selected, selection_folds, unselected


def learn_choice(job: Job, settings: HeadSettings) -> tuple[LinearHead, str, Mapping[str, Any]]:
    """Learn a head that judges choices; see :class:`~gptapps.training.head_method.Learner`."""
    inputs, options = HeadInputs(job.definition, job.model), job.data.options
    examples = [item.example for item in job.data.train if isinstance(item.example, ChoiceExample)]
    read = [choice_inputs(inputs, example, example.choices, options) for example in examples]
    texts = [one.ids for several in read for one in several]
    questions = Questions(
        np.array([len(example.choices) for example in examples]),
        np.array([example.choices.index(example.answer or "") for example in examples]),
    )
    store = feature_store(job, settings.features)
    began = monotonic()
    store.read(texts)
    read_seconds = monotonic() - began
    began = monotonic()
    folds = selection_folds(job.data, range(len(examples)), settings.selection_folds, job.seed)

    def scaled(features: Features) -> npt.NDArray[np.float32]:
        rows = store.rows(texts, features)
        return rotated(Scaling.of(rows).apply(rows))

    chosen, penalty, table = unselected(settings)
    if folds:
        chosen, penalty, table = selected(
            settings,
            criterion="accuracy",
            by_features=lambda features: share_right(scaled(features), questions, folds, [FEW_PENALTY])[FEW_PENALTY],
            by_penalty=lambda features: share_right(scaled(features), questions, folds, settings.penalties),
            progress=job.progress,
        )
    rows = store.rows(texts, chosen)
    scaling = Scaling.of(rows)
    weights = candidate_weights(scaling.apply(rows), questions, penalty)
    weight, _ = as_tensors(*scaling.undone(weights[None], np.zeros(1)))
    details = {
        "layers": list(chosen.layers),
        "poolings": list(chosen.poolings),
        "penalty": penalty,
        "chosen_by": "accuracy",
        "selection": table,
        "examples": len(examples),
        "read_seconds": round(read_seconds, 2),
        "fit_seconds": round(monotonic() - began, 2),
    }
    # What is the same for every candidate changes nothing, so there is no bias.
    return MultipleChoiceHead(weight, weight.new_zeros(1), chosen), "multiple_choice", details
