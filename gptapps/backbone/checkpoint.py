"""Checkpoints in the Hugging Face layout, in both directions: config.json and safetensors.

What is written here, transformers loads. Pickles are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gptapps.backbone.config import GPTConfig
from gptapps.backbone.families import FAMILIES, Family
from gptapps.backbone.families.settings import Settings
from gptapps.backbone.safetensors_files import SafetensorsSource, find_safetensors, read_json, write_json, write_shards
from gptapps.backbone.weights import HEAD, Weights, assemble, disassemble
from gptapps.errors import UnsupportedModelError
from gptapps.registry import suggestion

CONFIG = "config.json"
MAX_SHARD_BYTES = 2_000_000_000


def read_checkpoint(directory: Path) -> Weights:
    """Return what a directory in the Hugging Face layout holds.

    Args:
        directory: with config.json and model.safetensors, or its shards and their index. Tensors that need no
            joining share the files' mapped memory.

    Raises:
        CheckpointError: a file is absent or damaged, a tensor missing, surplus or misshapen, or weights pickled.
        UnsupportedModelError: a family or an option that gptapps doesn't implement.

    Example:
        >>> read_checkpoint(Path("gpt2")).config.family            # doctest: +SKIP
        'gpt2'
    """
    settings = Settings(read_json(directory / CONFIG), str(directory / CONFIG))
    settings.refuse_unless("quantization_config")
    family = _family(settings)
    config = family.read_config(settings)
    source = SafetensorsSource(str(directory), find_safetensors(directory))
    spelled = {family.canonical(name): name for name in source.names()}
    embedding, output = (_their_name(family, name) for name in ("token_embedding.weight", f"{HEAD}projection.weight"))
    twice = config.tied_vocabulary and {embedding, output} <= spelled.keys()
    # As transformers does: the weights are believed, not the configuration that calls them one.
    if twice and not torch.equal(source.read(spelled[embedding]), source.read(spelled[output])):
        config, twice = replace(config, tied_vocabulary=False), False
    tensors = assemble(
        config,
        family.rows,
        source,
        canonical=family.canonical,
        ignored=lambda name: family.ignores(name) or (twice and name == output),
    )
    return Weights(config, tensors)


def write_checkpoint(
    weights: Weights,
    directory: Path,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    token_ids: Mapping[str, int | list[int] | None] | None = None,
) -> None:
    """Write config.json and safetensors that transformers loads; a file that is there is replaced at once.

    Args:
        weights: what to write.
        directory: created where it is absent.
        max_shard_bytes: the most one safetensors file may hold.
        token_ids: ``bos_token_id``, ``eos_token_id`` and ``pad_token_id`` for config.json.

    Raises:
        ResourceError: the disk is full.
    """
    config = weights.config
    family = FAMILIES[config.family]
    dtype = str(weights.tensors["token_embedding.weight"].dtype).removeprefix("torch.")
    directory.mkdir(parents=True, exist_ok=True)
    write_shards(directory, disassemble(config, family.rows, weights.tensors), max_shard_bytes)
    write_json(
        directory / CONFIG, config_values(config) | {"dtype": dtype, "torch_dtype": dtype} | dict(token_ids or {})
    )


def config_values(config: GPTConfig) -> dict[str, Any]:
    """Return what config.json says about ``config``; :func:`config_from_values` reads it back."""
    family = FAMILIES[config.family]
    return {"model_type": family.name, "architectures": [family.architecture], **family.write_config(config)}


def config_from_values(values: Mapping[str, Any], source: str) -> GPTConfig:
    """Return the configuration that the values of a config.json describe.

    Args:
        values: what the JSON holds.
        source: where it comes from, for messages.

    Raises:
        CheckpointError: a value is absent or makes no sense.
        UnsupportedModelError: a family or an option that gptapps doesn't implement.
    """
    settings = Settings(values, source)
    return _family(settings).read_config(settings)


def _family(settings: Settings) -> Family:
    name = settings.text("model_type")
    if name not in FAMILIES:
        raise UnsupportedModelError(
            f"{settings.source} describes a {name!r} model, which gptapps doesn't know.{suggestion(name, FAMILIES)} "
            f"Known: {', '.join(sorted(FAMILIES))}."
        )
    return FAMILIES[name]


def _their_name(family: Family, ours: str) -> str:
    return next(row.theirs[0] for row in family.rows if row.ours == ours)
