"""The method ``head``: the backbone stays as it is, and a small head learns from what it says about each text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field
from typing_extensions import TypedDict

from gptapps.backbone.safetensors_files import write_safetensors
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.trained_heads import HEAD_FILE
from gptapps.errors import OptionError
from gptapps.heads.features import DEPTHS, POOLINGS, Features, Pooling, middle_layers
from gptapps.heads.linear_head import LinearHead
from gptapps.pipelines.head_reading import FeatureReader
from gptapps.task_definition import TaskDefinition
from gptapps.training.class_weights import ClassWeights
from gptapps.training.feature_store import FeatureStore
from gptapps.training.logistic import PENALTIES
from gptapps.training.methods import Job

_DEPTHS_OF_PLACES = (0.6, 0.75)  # where many places of a text are kept instead of one

_FAMILIES: Mapping[str, str] = {
    "classification": "gptapps.training.classification_head:learn_classification",
    "multi_label": "gptapps.training.classification_head:learn_classification",
    "multiple_choice": "gptapps.training.choice_head:learn_choice",
    "question_answering": "gptapps.training.span_head:learn_spans",
}
"""Family of tasks -> what learns its head, as ``"module:function"``."""

_OF_PLACES = ("question_answering",)


class HeadOptions(TypedDict, total=False):
    """Options of ``method="head"``."""

    layers: Annotated[
        Sequence[Annotated[int, Field(ge=0)]],
        Field(min_length=1, description="layers to choose from, 0 being the embedding; by default six in the middle"),
    ]
    poolings: Annotated[
        Sequence[Pooling],
        Field(min_length=1, description="what of a text to choose from: last, mean; each alone and all together"),
    ]
    penalties: Annotated[
        Sequence[Annotated[float, Field(gt=0)]],
        Field(min_length=1, description="strengths of the L2 penalty to choose from"),
    ]
    selection_folds: Annotated[int, Field(ge=2, description="folds of the training data by which all this is chosen")]
    class_weights: Annotated[ClassWeights, Field(description="balanced lets every label count the same")]


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """Checked options, with what was left out filled in.

    Attributes:
        features: everything to choose from.
        penalties, selection_folds, class_weights: see :class:`HeadOptions`.
    """

    features: Features
    penalties: tuple[float, ...]
    selection_folds: int
    class_weights: ClassWeights

    @classmethod
    def of(cls, options: Mapping[str, Any], model: LanguageModel, *, places: bool = False) -> HeadSettings:
        """Return the settings for a model.

        Args:
            options: of :class:`HeadOptions`.
            model: which is read.
            places: whether places of texts are read, which have no poolings, instead of whole texts.

        Raises:
            OptionError: a layer that the model doesn't have.
        """
        count, depths = model.backbone.config.layers, _DEPTHS_OF_PLACES if places else DEPTHS
        layers = tuple(sorted(set(options.get("layers") or middle_layers(count, depths))))
        if layers[-1] > count:
            raise OptionError(
                f"There is no layer {layers[-1]}: the model {model.name!r} has {count}, and 0 to begin with."
            )
        poolings = tuple(pooling for pooling in POOLINGS if pooling in options.get("poolings", POOLINGS))
        if places and "poolings" in options:
            raise OptionError(
                "Answers are looked for at every place of a text, so there are no poolings: leave them out."
            )
        return cls(
            Features(layers, ("last",) if places else poolings),
            tuple(sorted(set(options.get("penalties", PENALTIES)))),
            options.get("selection_folds", 5),
            options.get("class_weights", "none"),
        )


class Learner(Protocol):
    """Learns the head of one family."""

    def __call__(self, job: Job, settings: HeadSettings) -> tuple[LinearHead, str, Mapping[str, Any]]:
        """Return the head, the name it is registered by, and what is worth knowing about it."""


@dataclass(frozen=True, slots=True)
class FittedHead:
    """A head that was learned; see :class:`~gptapps.training.methods.Fitted`.

    Attributes:
        reader: knows the features of texts that were read; None where every place of a text is looked at.
    """

    model: LanguageModel
    definition: TaskDefinition
    settings: Mapping[str, Any]
    details: Mapping[str, Any]
    reader: FeatureReader | None = None

    def write(self, folder: Path) -> Sequence[str]:
        """Write the head as safetensors."""
        head = self.model.task_head
        write_safetensors(folder / HEAD_FILE, {} if head is None else head.state_dict(), {})
        return (HEAD_FILE,)


class HeadMethod:
    """Learns a head on frozen features.

    The backbone reads every text once; its features lie mapped in the work folder, for all folds and hyperparameters.
    """

    options_type = HeadOptions

    def fit(self, job: Job) -> FittedHead:
        """Learn the head; everything about it is chosen by cross-validation on the training data.

        Raises:
            OptionError: a layer that the model doesn't have.
            DataError: nothing to learn from.
        """
        module, _, function = _FAMILIES[job.definition.pipeline].partition(":")
        learn: Learner = getattr(import_module(module), function)
        of_places = job.definition.pipeline in _OF_PLACES
        settings = HeadSettings.of(job.options, job.model, places=of_places)
        head, name, details = learn(job, settings)
        model = replace(job.model, task_head=head.eval(), packaged=None)
        reader = None if of_places else feature_store(job, settings.features).tensor
        return FittedHead(model, job.definition.model_copy(update={"head": name}), head.settings(), details, reader)


def feature_store(job: Job, features: Features) -> FeatureStore:
    """Return the store of features that all trainings of a run share."""
    return FeatureStore(job.shared / "features", job.model, features, job.progress)


def as_tensors(weight: Any, bias: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights and bias in float32, as heads hold them."""
    return torch.tensor(weight, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)
