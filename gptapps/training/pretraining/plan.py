"""What is to be pre-trained, with everything refused that can be before a token is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import torch

from gptapps.backbone.config import GPTConfig
from gptapps.decoding.language_model import chosen_device
from gptapps.errors import OptionError, ResourceError
from gptapps.evaluation.manifest import Manifest, runtime_on
from gptapps.pipelines.factory import set_threads
from gptapps.pipelines.options import checked
from gptapps.tokenization.tokenizer import Tokenizer
from gptapps.training.pretraining.corpus import Corpus
from gptapps.training.pretraining.options import ObjectiveName, PretrainOptions, PretrainSettings, decisive
from gptapps.training.pretraining.sizes import Size, parameters_of, size_of
from gptapps.training.processes import require_shardable

Told = Callable[[str, int, int], None]

_BYTES_A_WEIGHT = 16  # itself, its gradient and the optimizer's two averages


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainPlan:
    """What is to be pre-trained; :func:`gptapps.pretrain` says what each means.

    Attributes:
        progress: told how far it is.
    """

    data: tuple[str | Path, ...]
    output: Path
    size: str = "gpt-2-small"
    objective: ObjectiveName = "next-token"
    tokenizer: str | None = None
    validation: str | Path | float = 0.1
    column: str = "text"
    limit: int | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Told | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """A plan's options, checked.

    Attributes:
        size: of the model.
        settings: of its training.
        options: as they were given.
        device: where it is trained.
    """

    size: Size
    settings: PretrainSettings
    options: Mapping[str, Any]
    device: torch.device


def checked_choices(plan: PretrainPlan) -> Choices:
    """Return the plan's options; PyTorch uses the threads that they ask for.

    Raises:
        OptionError: one that makes no sense.
        UnknownNameError: no such size.
        ResourceError: the device isn't there.
    """
    options = checked(PretrainOptions, plan.options)
    size = size_of(plan.size, **{name: options.get(name) for name in ("layers", "heads", "channels", "context")})
    if plan.objective not in get_args(ObjectiveName):
        raise OptionError(f"There is no objective {plan.objective!r}: use {' or '.join(get_args(ObjectiveName))}.")
    if plan.tokenizer is not None and "vocabulary_size" in options:
        raise OptionError("vocabulary_size is of a tokenizer that is trained on the text: leave it out, or tokenizer.")
    for name, least in (("seed", 0), ("limit", 1)):
        value = getattr(plan, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise OptionError(f"{name} is {value!r}, but has to be a whole number of at least {least}.")
    device = chosen_device(options.get("device"))
    settings = PretrainSettings.of(options, size, seed=plan.seed, on_gpu=device.type == "cuda")
    require_shardable(options)
    if "threads" in options:
        set_threads(options["threads"])
    return Choices(size, settings, options, device)


def require_memory(plan: PretrainPlan, choices: Choices, config: GPTConfig) -> None:
    """Refuse a model that can't be trained in the memory of this machine.

    Raises:
        ResourceError: says how much it takes.
    """
    weights = parameters_of(config)
    needed = weights * _BYTES_A_WEIGHT
    if choices.device.type == "cuda":
        processes = int(os.environ.get("WORLD_SIZE", "1")) if choices.settings.shard else 1
        needed, there = needed // processes, torch.cuda.get_device_properties(choices.device).total_memory
    else:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ResourceError(
            f"{plan.size} has {weights:,} weights here, and training them takes {needed / 1e9:,.0f} GB of memory, "
            f"where there are {there / 1e9:,.0f} GB: choose a smaller size, or fewer layers or channels."
        )


def pretrain_manifest(
    plan: PretrainPlan, choices: Choices, corpus: Corpus, known: Tokenizer | None, vocabulary_size: int
) -> Manifest:
    """Return what decides the weights, signed.

    Args:
        plan, choices, corpus: of the training.
        known: the tokenizer; None where it is trained on the text.
        vocabulary_size: of the tokenizer, the most where that is trained on the text.
    """
    content = {
        "names": {"data": [Path(str(one)).name for one in plan.data], "tokenizer": plan.tokenizer},
        "size": plan.size,
        "objective": plan.objective,
        "tokenizer": {"sha256": None if known is None else known.checksum, "vocabulary_size": vocabulary_size},
        "data": dict(corpus.checksums),
        "options": decisive(choices.options),
        "seed": plan.seed,
        **runtime_on(choices.device, torch.float32),
    }
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest.of(content, created=created, batch_size=choices.settings.blocks_per_update)
