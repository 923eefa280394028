"""Inputs through a backbone and a trained head, lazily and in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field
from torch import Tensor

from gptapps.decoding.features import length_batches, read_features
from gptapps.decoding.intake import Intake
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError
from gptapps.heads.linear_head import LinearHead
from gptapps.pipelines.head_inputs import HeadInput
from gptapps.pipelines.options import Options
from gptapps.task_definition import Defaults, TaskDefinition

_LOOK_AHEAD = 8  # batches of inputs that are taken at once and sorted by length


class HeadOptions(Options, total=False):
    """Options of everything that a trained head predicts: its prompt is the one it was trained with."""

    language: Annotated[str, Field(description="language of the prompt, en or zh; by default that of the input")]


def head_features(
    model: LanguageModel, head: LinearHead, inputs: Iterable[HeadInput], batch_size: int
) -> Iterator[tuple[HeadInput, Tensor]]:
    """Yield each input with its features (F,).

    Args:
        model: whose backbone reads them.
        head: says which features.
        inputs: an error of theirs is raised once everything before it was yielded.
        batch_size: inputs that are read together.
    """
    intake = Intake(inputs)
    while taken := intake.take(batch_size * _LOOK_AHEAD):
        found: dict[int, Tensor] = {}
        for batch in length_batches([len(one.ids) for one in taken]):
            features = read_features(model, [taken[number].ids for number in batch], head.features)
            found.update(zip(batch, features, strict=True))
        yield from ((one, found[number]) for number, one in enumerate(taken))
    intake.raise_error()


def without_foreign_defaults(definition: TaskDefinition, options_type: type) -> TaskDefinition:
    """Return the definition without defaults of options that a head's pipeline doesn't have, such as a temperature."""
    known = options_type.__annotations__
    defaults = definition.defaults.model_dump(exclude_none=True)
    kept = Defaults(**{name: value for name, value in defaults.items() if name in known})
    return definition.model_copy(update={"defaults": kept})


def trained_head(definition: TaskDefinition, model: LanguageModel) -> LinearHead:
    """Return the model's trained head.

    Raises:
        OptionError: it has none.
    """
    if not isinstance(model.task_head, LinearHead):
        raise OptionError(
            f"The task {definition.id!r} works with the head {definition.head!r}, and the model {model.name!r} has no "
            "trained one: name a folder that `gptapps finetune` wrote."
        )
    return model.task_head
