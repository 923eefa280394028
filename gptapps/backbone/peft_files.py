"""Low-rank adapters in peft's layout, in both directions: adapter_config.json and adapter_model.safetensors.

What is written here, peft loads onto transformers' model of the same weights, and the other way round.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gptapps.backbone.config import GPTConfig
from gptapps.backbone.families import FAMILIES
from gptapps.backbone.families.settings import Settings
from gptapps.backbone.low_rank import LowRankAdapter, LowRankUpdate, Slot, low_rank_slots
from gptapps.backbone.safetensors_files import SafetensorsSource, read_json, write_json, write_safetensors
from gptapps.backbone.transforms import TRANSPOSE
from gptapps.errors import CheckpointError, UnsupportedModelError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_READ = frozenset({"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "bias"})
# What was used in training only, or what the names of the tensors say as well.
_WITHOUT_EFFECT = frozenset(
    {
        *("task_type", "base_model_name_or_path", "revision", "auto_mapping", "inference_mode", "peft_version"),
        *("lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        *("fan_in_fan_out", "megatron_core", "megatron_config", "qalora_group_size", "eva_config", "runtime_config"),
        "ensure_weight_tying",
    }
)
_HARMLESS_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # the others change the base model's weights, too


def is_adapter(directory: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds an adapter in peft's layout, and no whole model."""
    return (Path(directory) / ADAPTER_CONFIG).is_file() and not (Path(directory) / "config.json").is_file()


def read_low_rank(directory: Path, config: GPTConfig) -> LowRankAdapter:
    """Return the adapter that a folder in peft's layout holds.

    Args:
        directory: with adapter_config.json and adapter_model.safetensors.
        config: of the model it was trained on.

    Raises:
        CheckpointError: a file is absent or damaged, or a tensor missing, surplus or misshapen.
        UnsupportedModelError: it is no LoRA, or one that does more than add to the matrices of the blocks.

    Example:
        >>> merge_low_rank(backbone, read_low_rank(Path("my-adapter"), backbone.config))      # doctest: +SKIP
    """
    settings = _checked_settings(directory)
    source = SafetensorsSource(str(directory), [directory / ADAPTER_WEIGHTS])
    tensors = {_layer_and_side(name, source.place, config): source.read(name) for name in source.names()}
    slots = {slot.theirs: slot for slot in low_rank_slots(config)}
    for layer, _ in tensors:
        if layer not in slots:
            raise UnsupportedModelError(
                f"{directory} adapts {layer}, which is no matrix in the blocks of this {config.family} model: "
                "train it on those, or name the model it belongs to."
            )
    adapted = dict.fromkeys(layer for layer, _ in tensors)
    return LowRankAdapter(
        tuple((slots[layer], _update(slots[layer], tensors, settings, config, source.place)) for layer in adapted)
    )


def write_low_rank(
    adapter: LowRankAdapter, directory: Path, config: GPTConfig, *, base: str | None = None, dropout: float = 0.0
) -> None:
    """Write an adapter in peft's layout; a file that is there is replaced at once.

    Args:
        adapter: what to write.
        directory: created where it is absent.
        config: of the model it was trained on.
        base: name of that model, for people and programs that read the folder.
        dropout: that it was trained with.

    Raises:
        ResourceError: the disk is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for slot, update in adapter.updates:
        (up,) = slot.transform.split(update.up, config.attention)
        tensors |= {_PREFIX + slot.theirs + _DOWN: update.down, _PREFIX + slot.theirs + _UP: up}
    write_safetensors(directory / ADAPTER_WEIGHTS, tensors, {"format": "pt"})
    write_json(directory / ADAPTER_CONFIG, _config_values(adapter, config, base, dropout))


def _checked_settings(directory: Path) -> Settings:
    settings = Settings(read_json(directory / ADAPTER_CONFIG), str(directory / ADAPTER_CONFIG))
    if settings.text("peft_type") != "LORA":
        raise settings.unsupported("peft_type", "a LoRA has to be of the type LORA")
    settings.refuse_unless("bias", "none")
    for name, value in settings.values.items():
        if name == "init_lora_weights":
            settings.refuse_unless(name, *_HARMLESS_STARTS)
        elif name not in _READ | _WITHOUT_EFFECT and value:
            raise settings.unsupported(name, "gptapps reads plain LoRA adapters without it")
    return settings


def _layer_and_side(name: str, place: str, config: GPTConfig) -> tuple[str, str]:
    side = next((side for side in (_DOWN, _UP) if name.endswith(side)), None)
    if side is None or not name.startswith(_PREFIX):
        raise UnsupportedModelError(
            f"{place} holds {name}, which is no part of a plain LoRA: train it without saving other modules."
        )
    layer = name.removeprefix(_PREFIX).removesuffix(side)
    return FAMILIES[config.family].canonical(f"{layer}.weight").removesuffix(".weight"), side


def _update(
    slot: Slot, tensors: Mapping[tuple[str, str], Tensor], settings: Settings, config: GPTConfig, place: str
) -> LowRankUpdate:
    found = [tensors.get((slot.theirs, side)) for side in (_DOWN, _UP)]
    down, up = found
    if down is None or up is None:
        lacking = _DOWN if down is None else _UP
        raise CheckpointError(f"{place} lacks {slot.theirs}{lacking}: fetch or train the adapter again.")
    rank = down.shape[0]
    for side, tensor, expected in ((_DOWN, down, (rank, slot.inputs)), (_UP, up, (slot.rows, rank))):
        if tuple(tensor.shape) != expected:
            raise CheckpointError(
                f"{place} holds {slot.theirs}{side} of shape {tuple(tensor.shape)} where the model asks for {expected}."
            )
    alpha = _pattern_value(settings, "alpha_pattern", slot.theirs, settings.number("lora_alpha", 8))
    scale = alpha / (rank**0.5 if settings.flag("use_rslora", False) else rank)
    return LowRankUpdate(down, slot.transform.join([up], config.attention), scale)


def _pattern_value(settings: Settings, name: str, layer: str, default: float) -> float:
    patterns = settings.section(name)
    for pattern in patterns.values if patterns else ():
        if patterns and re.match(rf"(.*\.)?({pattern})$", layer):
            return patterns.number(pattern)
    return default


def _config_values(adapter: LowRankAdapter, config: GPTConfig, base: str | None, dropout: float) -> dict[str, Any]:
    ranks = {slot.theirs: len(update.down) for slot, update in adapter.updates}
    alphas = {slot.theirs: update.scale * len(update.down) for slot, update in adapter.updates}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    transposed = {row.ours for row in FAMILIES[config.family].rows if row.transform is TRANSPOSE}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "rank_pattern": {layer: value for layer, value in ranks.items() if value != rank},
        "alpha_pattern": {layer: value for layer, value in alphas.items() if value != alpha},
        "target_modules": sorted(set(_endings(set(ranks), config))),
        "fan_in_fan_out": bool(transposed),
        "bias": "none",
        "use_rslora": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


def _endings(layers: set[str], config: GPTConfig) -> Iterator[str]:
    """Yield names whose endings tell the adapted layers from all others: the last word where that does."""
    everything = {slot.theirs for slot in low_rank_slots(config)}
    for layer in layers:
        words = layer.split(".")
        endings = (".".join(words[-count:]) for count in range(1, len(words) + 1))
        yield next(end for end in endings if {one for one in everything if one.endswith(f".{end}")} <= layers)
