"""What is to be trained, and what of the options that means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError
from gptapps.evaluation.selection import Sampling
from gptapps.pipelines.factory import SetupOptions, check_setup
from gptapps.pipelines.options import checked
from gptapps.task_catalog import resolve_task
from gptapps.task_definition import TaskDefinition
from gptapps.training.augmentation import AUGMENTATIONS, BACK_TRANSLATION
from gptapps.training.data import DataPlan
from gptapps.training.findings import Diagnosis
from gptapps.training.gradient_options import LoraOptions, require_fitting_head
from gptapps.training.methods import Method, Progress, method_for, sorted_options
from gptapps.training.processes import require_shardable


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What is to be trained; :func:`gptapps.finetune` says what each means.

    Attributes:
        progress: told how far it is.
        on_diagnosis: given what the data's examination found, before the model is loaded.
    """

    task: str
    train: str | Path
    output: Path
    validation: str | Path | float | None = 0.1
    method: str = "head"
    columns: Mapping[str, str] | None = None
    where: Mapping[str, str] | None = None
    label_names: Mapping[str, str] | None = None
    limit: int | None = None
    sampling: Sampling = "first"
    folds: int | None = None
    per_label: int | None = None
    seeds: int = 1
    seed: int = 0
    augment: Sequence[str] = ()
    copies: int = 1
    translator: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None
    on_diagnosis: Callable[[Diagnosis], None] | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """A plan's options, checked and sorted.

    Attributes:
        definition: of the task.
        method: how it is trained.
        of_method: the method's options.
        setup: those of ``pipeline(...)``, the model among them.
        of_calls: those of the pipeline's calls.
    """

    definition: TaskDefinition
    method: Method
    of_method: Mapping[str, Any]
    setup: Mapping[str, Any]
    of_calls: Mapping[str, Any]

    @property
    def model_name(self) -> str | None:
        """The model's name; None where it was given loaded."""
        model = self.setup.get("model")
        return None if isinstance(model, LanguageModel) else model


def checked_choices(plan: TrainingPlan) -> Choices:
    """Return the plan's options, with everything refused that can be without the data.

    Raises:
        UnknownNameError: no such task or method.
        OptionError: an option that makes no sense, or a method that doesn't go with the task.
    """
    given = {name: value for name, value in plan.options.items() if value is not None}
    check_setup(plan.task, given)
    definition = resolve_task(plan.task)
    method = method_for(plan.method, definition)
    options = sorted_options(plan.method, method, given)
    require_shardable(options.method)
    setup = {name: value for name, value in options.rest.items() if name in SetupOptions.__annotations__}
    calls = {name: value for name, value in options.rest.items() if name not in setup}
    _check_numbers(plan)
    of_method = checked(method.options_type, options.method)
    if method.options_type is LoraOptions:
        require_fitting_head(of_method, definition)
    return Choices(definition, method, of_method, setup, calls)


def data_plan(plan: TrainingPlan, calls: Mapping[str, Any]) -> DataPlan:
    """Return which data the plan reads."""
    return DataPlan(
        task=plan.task,
        train=plan.train,
        validation=plan.validation,
        columns=plan.columns,
        where=plan.where,
        label_names=plan.label_names,
        limit=plan.limit,
        sampling=plan.sampling,
        seed=plan.seed,
        options=calls,
    )


def _check_numbers(plan: TrainingPlan) -> None:
    for name, least in (("folds", 2), ("per_label", 1), ("seeds", 1), ("seed", 0), ("copies", 1)):
        value = getattr(plan, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise OptionError(f"{name} is {value!r}, but has to be a whole number of at least {least}.")
    if plan.folds is not None and (plan.per_label is not None or plan.seeds > 1):
        raise OptionError("folds and few examples or several seeds don't go together: choose one of the two.")
    if plan.seeds > 1 and plan.validation is None:
        raise OptionError("Several seeds are compared on validation examples: leave validation in.")
    for way in plan.augment:
        if way not in AUGMENTATIONS:
            raise OptionError(f"There is no augmentation {way!r}: use {' or '.join(AUGMENTATIONS)}.")
    if BACK_TRANSLATION in plan.augment and plan.translator is None:
        raise OptionError(
            "Back-translation needs a model that can translate: name one as translator, such as 'gemma-3-270m'."
        )
