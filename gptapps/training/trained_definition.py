"""A task as a trained model does it: with the labels of the data, and with nothing that only an untrained one needs."""

from __future__ import annotations

from gptapps.task_definition import Defaults, TaskDefinition
from gptapps.training.data import TrainingData


def trained_definition(data: TrainingData) -> TaskDefinition:
    """Return the definition that a model trained on ``data`` works by.

    The options of the pipeline become its defaults. A label's likelihood isn't compared with that behind texts that
    say nothing any more: what a model has learned to expect is meant. Where a text may have several labels, it may
    have none from now on: there are examples to learn that from.
    """
    definition = data.task
    allowed = definition.family.defaults
    known = [name for name in Defaults.model_fields if allowed is None or name in allowed]
    options = {name: data.options[name] for name in known if data.options.get(name) is not None}
    update: dict[str, object] = {"defaults": definition.defaults.model_copy(update=options)}
    if "labels" in definition.family.keys and data.labels:
        words = {
            language: {label: word for label, word in wordings.items() if label in data.labels}
            for language, wordings in definition.label_words.items()
        }
        update |= {
            "labels": data.labels,
            "label_words": {language: wordings for language, wordings in words.items() if wordings},
            "shots": tuple(shot for shot in definition.shots if shot["label"] in data.labels),
            "content_free": (),
        }
    if "no_label" in (definition.family.behaviours or {}):
        update["behaviours"] = {**definition.behaviours, "no_label": "possible"}
    return definition.model_copy(update=update)
