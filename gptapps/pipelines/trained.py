"""Which task and which pipeline a model that was trained brings along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError
from gptapps.model_store import PACKAGED_MODELS
from gptapps.pipelines.base import Pipeline
from gptapps.registry import PIPELINES
from gptapps.task_catalog import resolve_task
from gptapps.task_definition import TaskDefinition
from gptapps.trained_model import TrainedModel, is_trained_model, read_trained_model

_WITH_HEADS: Mapping[str, str] = {
    "sequence_classification": "gptapps.pipelines.head_classification:HeadClassificationPipeline",
    "multi_label": "gptapps.pipelines.head_multi_label:HeadMultiLabelPipeline",
    "multiple_choice": "gptapps.pipelines.head_multiple_choice:HeadMultipleChoicePipeline",
    "span": "gptapps.pipelines.head_question_answering:HeadQuestionAnsweringPipeline",
}
"""Trained head -> the pipeline that works with it, as ``"module:class"``."""

_WITHOUT_TASK = ("generation", "scoring")  # what a whole model or an adapter does as well as before


def definition_for(task: str, model: object) -> TaskDefinition:
    """Return a task's definition; the one that the model was trained for, where it was trained.

    A trained model knows its own task by name, so that one's own definition needs no path beside it.

    Args:
        task: a task's name or alias, or the path of a definition.
        model: a name, a path, a loaded model, or None.

    Raises:
        UnknownNameError: no such task.
        OptionError: the model was trained for a task of another kind.
        ModelError, TaskDefinitionError: a trained folder that is damaged.
    """
    trained = trained_by(model)
    if trained is not None and task == trained.definition.id:
        return trained.definition
    definition = resolve_task(task)
    if trained is None:
        return definition
    if trained.definition.pipeline == definition.pipeline:
        return trained.definition
    writes = trained.method != "head" and trained.definition.head not in _WITH_HEADS
    if writes and definition.pipeline in _WITHOUT_TASK:
        return definition
    raise OptionError(
        f"The model {os.fspath(trained.path)!r} was trained for the task {trained.definition.id!r}, which is "
        f"{trained.definition.pipeline.replace('_', ' ')}, and {definition.id!r} is "
        f"{definition.pipeline.replace('_', ' ')}: name the task it was trained for, or another model."
    )


def pipeline_kind(definition: TaskDefinition) -> type[Pipeline[Any, Any]]:
    """Return the pipeline of a definition: that of its trained head, where it names one.

    Raises:
        UnknownNameError: nobody registered it.
        TaskDefinitionError: the head doesn't go with the pipeline.
    """
    plain: type[Pipeline[Any, Any]] = PIPELINES.get(definition.pipeline)
    if definition.head in plain.heads or definition.head not in _WITH_HEADS:
        plain.require_head(definition)
        return plain
    module, _, name = _WITH_HEADS[definition.head].partition(":")
    kind: type[Pipeline[Any, Any]] = getattr(import_module(module), name)
    if not issubclass(kind, plain):
        plain.require_head(definition)
    return kind


def trained_by(model: object) -> TrainedModel | None:
    """Return what a model's folder says, where training left it.

    Raises:
        ModelError, TaskDefinitionError: the folder is damaged.
    """
    if isinstance(model, LanguageModel):
        return model.trained
    if isinstance(model, str | os.PathLike) and model not in PACKAGED_MODELS and is_trained_model(model):
        return read_trained_model(model)
    return None
