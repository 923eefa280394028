"""Inputs through a backbone and a trained head, lazily and as they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Protocol, TypeVar

from pydantic import Field
from torch import Tensor

from gptapps.decoding.features import length_batches, read_features
from gptapps.decoding.intake import LookAhead
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError
from gptapps.heads.features import Features
from gptapps.heads.linear_head import LinearHead
from gptapps.pipelines.head_inputs import HeadInput
from gptapps.pipelines.options import Options
from gptapps.task_definition import Defaults, TaskDefinition

_LOOK_AHEAD = 8  # batches of inputs that are taken at once and sorted by length


class HeadOptions(Options, total=False):
    """Options of everything that a trained head predicts: its prompt is the one it was trained with."""

    language: Annotated[str, Field(description="language of the prompt, en or zh; by default that of the input")]


class Readable(Protocol):
    """What a backbone reads."""

    @property
    def ids(self) -> Sequence[int]:
        """Token ids."""


FeatureReader = Callable[[Sequence[Sequence[int]], Features], Tensor]
"""Returns the features (B, F) of texts, given the ids of each."""

I = TypeVar("I", bound=Readable)  # noqa: E741
R = TypeVar("R")


def read_by_length(
    inputs: Iterable[I], read: Callable[[list[I]], Iterable[R]], *, most: int
) -> Iterator[tuple[int, R]]:
    """Yield each input's number, from 0, and what was read of it, as soon as it was read.

    Args:
        inputs: an error of theirs is raised once everything before it was yielded.
        read: reads a batch, of similar lengths.
        most: inputs that are taken at once and sorted by length.
    """
    ahead = LookAhead(inputs, most)
    while taken := ahead.take():
        for batch in length_batches([len(one.ids) for _, one in taken]):
            found = read([taken[place][1] for place in batch])
            for place, result in zip(batch, found, strict=True):
                number, _ = taken[place]
                ahead.finish(number)
                yield number, result
    ahead.raise_error()


def feature_reader(model: LanguageModel) -> FeatureReader:
    """Return what reads features by a model's backbone."""

    def read(texts: Sequence[Sequence[int]], features: Features) -> Tensor:
        return read_features(model, texts, features)

    return read


def head_features(
    reader: FeatureReader, head: LinearHead, inputs: Iterable[HeadInput], batch_size: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield each input's number and its features (F,), as soon as they were read.

    Args:
        reader: reads them, or knows them already.
        head: says which features.
        inputs: an error of theirs is raised once everything before it was yielded.
        batch_size: inputs that are read together.
    """

    def read(batch: list[HeadInput]) -> Iterable[Tensor]:
        return reader([one.ids for one in batch], head.features)

    return read_by_length(inputs, read, most=batch_size * _LOOK_AHEAD)


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
