"""Options of the methods that learn by gradients, and what they are where they are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from gptapps.errors import OptionError
from gptapps.task_definition import TaskDefinition
from gptapps.training.carrier import Precision
from gptapps.training.class_weights import ClassWeights
from gptapps.training.methods import Method
from gptapps.training.optimizer import Decline
from gptapps.training.recipe import Recipe

MAX_LENGTH = 2048
"""Tokens of a prompt and its target together, where the option doesn't say."""

VIRTUAL_TOKENS = 20
"""How many stand in front of every prompt where it is learned, and the option doesn't say."""

_WITH_HEAD = ("question_answering",)  # families whose head can be learned with a LoRA

Share = Annotated[float, Field(ge=0, lt=1)]


class GradientOptions(TypedDict, total=False):
    """Options of every method that learns by gradients."""

    epochs: Annotated[int, Field(ge=1, description="how often all examples are learned from; 3")]
    examples_per_update: Annotated[int, Field(ge=1, description="examples behind each change of the weights; 16")]
    tokens_at_once: Annotated[
        int,
        Field(ge=1, description="tokens that are read together, which bounds the memory; 1024 on the CPU, else 8192"),
    ]
    max_length: Annotated[int, Field(ge=2, description="the most tokens of a prompt and its target together; 2048")]
    learning_rate: Annotated[float, Field(gt=0, description="the highest; by default what suits the method")]
    decline: Annotated[Decline, Field(description="how the learning rate falls: cosine, linear or constant; cosine")]
    warmup: Annotated[Share, Field(description="share of the updates in which the learning rate rises; 0.1")]
    weight_decay: Annotated[float, Field(ge=0, description="pulls the matrices that are learned towards zero; 0.01")]
    label_smoothing: Annotated[
        Share, Field(description="share of the probability that whatever isn't right may have; 0")
    ]
    dropout: Annotated[
        Share,
        Field(
            description="share left out while training: of what the updates see (lora; 0.05), of what every layer adds "
            "(full, prompt; 0)"
        ),
    ]
    clip: Annotated[float, Field(gt=0, description="the most that a gradient's norm may be; 1")]
    evaluations: Annotated[int, Field(ge=1, description="tries on the validation examples in each epoch; 1")]
    validation_limit: Annotated[int, Field(ge=1, description="validation examples of each try; 200")]
    patience: Annotated[int, Field(ge=1, description="tries without a better one after which training ends; 2")]
    precision: Annotated[Precision, Field(description="no, bf16 or fp16; bf16 on a GPU, no on the CPU")]
    class_weights: Annotated[ClassWeights, Field(description="balanced lets every label count the same")]
    checkpoint_every: Annotated[int, Field(ge=1, description="updates between checkpoints; by default by the clock")]


class FullOptions(GradientOptions, total=False):
    """Options of ``method="full"``."""

    shard: Annotated[bool, Field(description="spread what is learned over torchrun's processes")]


class LoraOptions(FullOptions, total=False):
    """Options of ``method="lora"``."""

    rank: Annotated[int, Field(ge=1, description="of the updates; 16")]
    alpha: Annotated[float, Field(gt=0, description="the updates are multiplied by alpha / rank; twice the rank")]
    targets: Annotated[
        Sequence[str],
        Field(min_length=1, description="what is adapted: all, attention, feed_forward, or names such as q_proj; all"),
    ]
    merge: Annotated[bool, Field(description="write the whole model with the updates merged into it, not an adapter")]
    with_head: Annotated[bool, Field(description="learn a head that finds answers with it, in place of writing them")]
    head_layer: Annotated[
        int,
        Field(ge=1, description="whose states that head reads; three quarters of the way up, and none above is read"),
    ]


class PromptOptions(GradientOptions, total=False):
    """Options of ``method="prompt"``."""

    virtual_tokens: Annotated[int, Field(ge=1, description="tokens of the learned prompt; 20")]


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSettings:
    """Checked options with what was left out filled in; see :class:`GradientOptions` for each."""

    recipe: Recipe
    epochs: int
    examples_per_update: int
    tokens_at_once: int
    max_length: int
    label_smoothing: float
    validation_limit: int
    precision: Precision
    class_weights: ClassWeights

    @classmethod
    def of(cls, options: Mapping[str, Any], *, learning_rate: float, seed: int, on_gpu: bool) -> GradientSettings:
        """Return the settings that options make.

        Args:
            options: checked.
            learning_rate: where they name none.
            seed: of everything drawn.
            on_gpu: where the model lies.
        """
        recipe = Recipe(
            learning_rate=options.get("learning_rate", learning_rate),
            decline=options.get("decline", "cosine"),
            warmup=options.get("warmup", 0.1),
            weight_decay=options.get("weight_decay", 0.01),
            clip=options.get("clip", 1.0),
            evaluations=options.get("evaluations", 1),
            patience=options.get("patience", 2),
            checkpoint_every=options.get("checkpoint_every"),
            seed=seed,
        )
        return cls(
            recipe=recipe,
            epochs=options.get("epochs", 3),
            examples_per_update=options.get("examples_per_update", 16),
            tokens_at_once=options.get("tokens_at_once", 8192 if on_gpu else 1024),
            max_length=options.get("max_length", MAX_LENGTH),
            label_smoothing=options.get("label_smoothing", 0.0),
            validation_limit=options.get("validation_limit", 200),
            precision=options.get("precision", "bf16" if on_gpu else "no"),
            class_weights=options.get("class_weights", "none"),
        )


def require_fitting_head(options: Mapping[str, Any], definition: TaskDefinition) -> None:
    """Refuse a head beside a LoRA where the task has none to learn so.

    Args:
        options: of :class:`LoraOptions`.
        definition: of the task.

    Raises:
        OptionError: the task finds no answers, or the head's layer is named without the head.
    """
    wanted = options.get("with_head", False)
    if wanted and definition.pipeline not in _WITH_HEAD:
        raise OptionError(
            f"with_head learns to find answers in a context, and the task {definition.id!r} is "
            f"{definition.pipeline.replace('_', ' ')}: leave it out."
        )
    if "head_layer" in options and not wanted:
        raise OptionError("head_layer is about the head that with_head learns: leave it out, or add with_head.")


def token_limit(method: Method, options: Mapping[str, Any]) -> int | None:
    """Return the most tokens of prompt and target that a method takes; None where that is what the model holds.

    Args:
        method: which.
        options: of the method.
    """
    known = method.options_type.__annotations__
    if "max_length" not in known:
        return None
    length: int = options.get("max_length", MAX_LENGTH)
    in_front: int = options.get("virtual_tokens", VIRTUAL_TOKENS) if "virtual_tokens" in known else 0
    return max(length - in_front, 1)
