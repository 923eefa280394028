"""Options of pre-training, and what they are where they are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from gptapps.training.carrier import Precision
from gptapps.training.gradient_options import Share
from gptapps.training.optimizer import Decline
from gptapps.training.pretraining.sizes import Size, learning_rate_of
from gptapps.training.recipe import Recipe

ObjectiveName = Literal["next-token", "masked"]

VOCABULARY_SIZE = 8192
"""Of a tokenizer that is trained on the text, where the option doesn't say."""


class PretrainOptions(TypedDict, total=False):
    """Options of :func:`gptapps.pretrain`."""

    layers: Annotated[int, Field(ge=1, description="blocks, instead of the size's")]
    heads: Annotated[int, Field(ge=1, description="of attention; with other channels one for each 64 of them")]
    channels: Annotated[int, Field(ge=1, description="of a hidden state, instead of the size's")]
    context: Annotated[int, Field(ge=2, description="the most tokens of a text, instead of the size's")]
    vocabulary_size: Annotated[
        int, Field(ge=257, description="of a tokenizer that is trained on the text; 8192, or fewer in a short text")
    ]
    epochs: Annotated[int, Field(ge=1, description="how often the whole text is learned from; 1")]
    updates: Annotated[int, Field(ge=1, description="changes of the weights in all, however many epochs they take")]
    tokens_per_update: Annotated[
        int, Field(ge=1, description="behind each change of the weights; 16 times the context")
    ]
    tokens_at_once: Annotated[
        int,
        Field(ge=1, description="tokens that are read together, which bounds the memory; 1024 on the CPU, else 8192"),
    ]
    learning_rate: Annotated[float, Field(gt=0, description="the highest; by default that of GPT-3 of the same width")]
    decline: Annotated[Decline, Field(description="how the learning rate falls: cosine, linear or constant; cosine")]
    warmup: Annotated[Share, Field(description="share of the updates in which the learning rate rises; 0.05")]
    weight_decay: Annotated[float, Field(ge=0, description="pulls the matrices towards zero; 0.1")]
    clip: Annotated[float, Field(gt=0, description="the most that a gradient's norm may be; 1")]
    evaluations: Annotated[
        int, Field(ge=1, description="tries on the validation text in each epoch, or in less than one; 10")
    ]
    validation_tokens: Annotated[int, Field(ge=1, description="tokens of each try, at most; 100000")]
    patience: Annotated[int, Field(ge=1, description="tries without a better one after which it ends; by default none")]
    prompts: Annotated[
        Sequence[str],
        Field(min_length=1, description="texts that the samples of each try go on from; three begin anew"),
    ]
    sample_tokens: Annotated[int, Field(ge=1, description="the most tokens of a sample; 64")]
    precision: Annotated[Precision, Field(description="no, bf16 or fp16; bf16 on a GPU, no on the CPU")]
    checkpoint_every: Annotated[int, Field(ge=1, description="updates between checkpoints; by default by the clock")]
    shard: Annotated[bool, Field(description="spread what is learned over torchrun's processes")]
    device: Annotated[str, Field(description="cpu, cuda or cuda:N; by default the GPU where there is one")]
    threads: Annotated[int, Field(ge=1, description="CPU threads")]


_FREE = ("checkpoint_every", "shard", "device", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """Checked options with what was left out filled in; see :class:`PretrainOptions` for each."""

    recipe: Recipe
    epochs: int
    updates: int | None
    blocks_per_update: int
    blocks_at_once: int
    validation_tokens: int
    prompts: tuple[str, ...]
    sample_tokens: int
    precision: Precision
    shard: bool

    @classmethod
    def of(cls, options: Mapping[str, Any], size: Size, *, seed: int, on_gpu: bool) -> PretrainSettings:
        """Return the settings that options make for a model of a size."""
        recipe = Recipe(
            learning_rate=options.get("learning_rate", learning_rate_of(size)),
            decline=options.get("decline", "cosine"),
            warmup=options.get("warmup", 0.05),
            weight_decay=options.get("weight_decay", 0.1),
            clip=options.get("clip", 1.0),
            evaluations=options.get("evaluations", 10),
            patience=options.get("patience"),
            checkpoint_every=options.get("checkpoint_every"),
            seed=seed,
        )
        return cls(
            recipe=recipe,
            epochs=options.get("epochs", 1),
            updates=options.get("updates"),
            blocks_per_update=max(options.get("tokens_per_update", 16 * size.context) // size.context, 1),
            blocks_at_once=max(options.get("tokens_at_once", 8192 if on_gpu else 1024) // size.context, 1),
            validation_tokens=options.get("validation_tokens", 100_000),
            prompts=tuple(options.get("prompts", ("",) * 3)),
            sample_tokens=options.get("sample_tokens", 64),
            precision=options.get("precision", "bf16" if on_gpu else "no"),
            shard=options.get("shard", False),
        )


def decisive(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that decide what is learned."""
    return {name: value for name, value in options.items() if name not in _FREE}
