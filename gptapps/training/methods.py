"""How a task can be learned: methods by name, and which of them goes with which task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError
from gptapps.pipelines.base import Pipeline
from gptapps.registry import Registry
from gptapps.task_definition import TaskDefinition
from gptapps.training.data import TrainingData

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is in all."""

METHODS = Registry(
    "training method",
    "gptapps.training_methods",
    {
        "head": "gptapps.training.head_method:HeadMethod",
        "lora": "gptapps.training.gradient_methods:LoraMethod",
        "full": "gptapps.training.gradient_methods:FullMethod",
        "prompt": "gptapps.training.gradient_methods:PromptMethod",
    },
)

MATRIX: Mapping[str, tuple[str, ...]] = {
    "head": ("classification", "multi_label", "question_answering", "multiple_choice"),
    **dict.fromkeys(
        ("lora", "full", "prompt"),
        (
            *("classification", "multi_label", "question_answering", "multiple_choice"),
            *("translation", "summarization", "generation", "scoring"),
        ),
    ),
}
"""Built-in method -> the families of tasks it goes with."""

_ADVICE: Mapping[str, str] = {"head": "a head chooses among labels, choices or places, and here there are none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: everything a method needs.

    Attributes:
        definition: the task, with the labels of the data filled in.
        pipeline: of the task on the untrained model, whose prompts and options hold for training, too.
        data: examples to learn from, and to stop early by.
        options: of the method, checked.
        seed: of everything that is drawn.
        folder: this training's own; what lies in it after a kill is there again when the same training goes on.
        shared: one folder for all trainings of a run, for what they have in common.
        progress: told how far it is; None for nobody.
    """

    definition: TaskDefinition
    pipeline: Pipeline[Any, Any]
    data: TrainingData
    options: Mapping[str, Any]
    seed: int
    folder: Path
    shared: Path
    progress: Progress | None = None

    @property
    def model(self) -> LanguageModel:
        """The untrained model."""
        return self.pipeline.model


class Fitted(Protocol):
    """What a method learned."""

    @property
    def model(self) -> LanguageModel:
        """The model with what was learned applied, ready for a pipeline."""

    @property
    def definition(self) -> TaskDefinition:
        """The task as the trained model does it, its head included."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What applying the written files needs to know, for JSON."""

    @property
    def details(self) -> Mapping[str, Any]:
        """What is worth knowing about the training, for JSON: what was chosen, learning curves."""

    def write(self, folder: Path) -> Sequence[str]:
        """Write what was learned; return the names of the files that decide what the model predicts."""


class Method(Protocol):
    """A way to learn a task. Its options are a ``TypedDict``, as those of pipelines are."""

    options_type: type

    def fit(self, job: Job) -> Fitted:
        """Learn.

        Raises:
            GPTAppsError: the data, an option or the model can't be used.
        """


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """Options that a person gave, sorted by whom they are for.

    Attributes:
        method: of the method.
        rest: all others.
    """

    method: Mapping[str, Any] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)


def methods_of(definition: TaskDefinition) -> tuple[str, ...]:
    """Return the names of the methods that go with a task; plug-ins' are taken at their word."""
    return tuple(name for name in METHODS.names() if definition.pipeline in MATRIX.get(name, (definition.pipeline,)))


def method_for(name: str, definition: TaskDefinition) -> Method:
    """Return the method of that name, if it goes with the task.

    Raises:
        UnknownNameError: no such method.
        OptionError: it doesn't go with the task; says which do.
    """
    kind = METHODS.get(name)
    families = MATRIX.get(name)
    if families is not None and definition.pipeline not in families:
        able = methods_of(definition)
        why = f" ({_ADVICE[name]})" if name in _ADVICE and able else ""
        instead = f"use method={' or '.join(map(repr, able))}" if able else "no method learns it"
        raise OptionError(
            f"The method {name!r} doesn't go with the task {definition.id!r}, which is "
            f"{definition.pipeline.replace('_', ' ')}{why}: {instead}."
        )
    method: Method = kind()
    return method


def sorted_options(name: str, method: Method, options: Mapping[str, Any]) -> MethodOptions:
    """Sort options by whom they are for.

    Raises:
        OptionError: one belongs to another method.
    """
    own = method.options_type.__annotations__
    for option in options:
        others = [
            other for other in MATRIX if other != name and option in METHODS.get(other).options_type.__annotations__
        ]
        if option not in own and others:
            raise OptionError(
                f"The option {option!r} belongs to method={' or '.join(map(repr, others))}, and this is {name!r}: "
                "leave it out, or choose that method."
            )
    return MethodOptions(
        {option: value for option, value in options.items() if option in own},
        {option: value for option, value in options.items() if option not in own},
    )
