"""Rotary positions in a config.json: the form of transformers 5 (rope_parameters) and that of 4 (rope_theta).

Defaults and derived values follow the checkpoints' own library, so that a file means the same here and there.
"""

from __future__ import annotations

import math
from typing import Any

from gptapps.backbone.families.settings import Settings
from gptapps.backbone.rotary import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RopeScaling,
    RotaryConfig,
    YarnScaling,
)
from gptapps.errors import UnsupportedModelError

_LAYER_KINDS = ("full_attention", "sliding_attention")


def read_rotary(
    settings: Settings, head_size: int, *, base: float = 10_000.0, base_name: str = "rope_theta", fraction: float = 1.0
) -> RotaryConfig:
    """Return the rotary positions that all layers share.

    Args:
        settings: a whole config.json.
        head_size: D.
        base: of the angles, where nothing says another one.
        base_name: the older key of the base.
        fraction: how much of a head is rotated, where ``rope_parameters`` doesn't say.

    Raises:
        UnsupportedModelError: a scaling that gptapps doesn't know.
    """
    scaling = settings.section("rope_scaling")
    scaling = scaling if scaling and scaling.values else settings.section("rope_parameters")
    if scaling is not None and any(kind in scaling.values for kind in _LAYER_KINDS):
        scaling = scaling.section("full_attention")
    return rotary_of(scaling, settings, head_size, base=settings.positive(base_name, base), fraction=fraction)


def rotary_of(
    section: Settings | None, settings: Settings, head_size: int, *, base: float, fraction: float = 1.0
) -> RotaryConfig:
    """Return the rotary positions that one object of rope parameters describes.

    Args:
        section: ``rope_parameters``, one of its layer kinds, or ``rope_scaling``; None for plain positions.
        settings: the whole config.json, which knows the context length.
        head_size: D.
        base: where ``section`` doesn't say ``rope_theta``.
        fraction: where ``section`` doesn't say ``partial_rotary_factor``.
    """
    if section is None:
        section = Settings({}, settings.source)
    size = int(head_size * section.positive("partial_rotary_factor", fraction))
    if size % 2:
        raise UnsupportedModelError(
            f"{settings.source} rotates {size} channels of each head: rotation works on pairs, and that is odd."
        )
    scaling = _read_scaling(section, settings)
    if isinstance(scaling, LongRopeScaling):
        for name, factors in (("short_factor", scaling.short_factors), ("long_factor", scaling.long_factors)):
            if len(factors) != size // 2:
                raise section.unsupported(name, f"it should hold {size // 2} numbers, one for each rotated pair")
    return RotaryConfig(base=section.positive("rope_theta", base), size=size, scaling=scaling)


def stretched_context(context: int, rotary: RotaryConfig) -> int:
    """Return the tokens that a text may have where ``max_position_embeddings`` is what came before the scaling."""
    match rotary.scaling:
        case LinearScaling(factor) | DynamicScaling(factor):
            return int(context * factor)
        case YarnScaling(factor, original):
            return max(context, int(original * factor))
    return context


def written_context(context: int, rotary: RotaryConfig) -> int:
    """Return the ``max_position_embeddings`` that :func:`stretched_context` makes ``context`` of."""
    match rotary.scaling:
        case LinearScaling(factor):
            return round(context / factor)
        case DynamicScaling(_, original):
            return original
    return context


def write_rotary(rotary: RotaryConfig, head_size: int, context: int) -> dict[str, Any]:
    """Return ``rope_parameters`` for transformers 5, with the keys that transformers 4 looks for beside it."""
    parameters = rope_parameters(rotary, head_size, context)
    written: dict[str, Any] = {"rope_parameters": parameters, "rope_theta": rotary.base}
    if rotary.scaling is not None:
        written["rope_scaling"] = {key: value for key, value in parameters.items() if key != "rope_theta"}
    return written


def rope_parameters(rotary: RotaryConfig, head_size: int, context: int) -> dict[str, Any]:
    """Return one object of rope parameters; :func:`rotary_of` reads it back."""
    values: dict[str, Any] = {"rope_type": "default", "rope_theta": rotary.base}
    if rotary.size != head_size:
        values["partial_rotary_factor"] = rotary.size / head_size
    match rotary.scaling:
        case LinearScaling(factor):
            values |= {"rope_type": "linear", "factor": factor}
        case DynamicScaling(factor):
            values |= {"rope_type": "dynamic", "factor": factor}
        case YarnScaling(factor, original, attention_factor, fast, slow, truncate):
            values |= {
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original,
                "attention_factor": attention_factor,
                "beta_fast": fast,
                "beta_slow": slow,
                "truncate": truncate,
            }
        case LongRopeScaling(short, long, original, attention_factor):
            values |= {
                "rope_type": "longrope",
                "factor": context / original,
                "short_factor": list(short),
                "long_factor": list(long),
                "original_max_position_embeddings": original,
                "attention_factor": attention_factor,
            }
        case Llama3Scaling(factor, low, high, original):
            values |= {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    return values


def _read_scaling(section: Settings, settings: Settings) -> RopeScaling | None:
    kind_name = "rope_type" if section.has("rope_type") else "type"
    kind = section.text(kind_name, "default")
    if kind == "default":
        return None
    context = settings.whole("max_position_embeddings")
    original = section.whole("original_max_position_embeddings", context, least=2)
    original = settings.whole("original_max_position_embeddings", original, least=2)
    match kind:
        case "linear":
            return LinearScaling(section.positive("factor"))
        case "dynamic":
            return DynamicScaling(section.positive("factor"), context)
        case "yarn":
            factor = section.positive("factor", context / original)
            return YarnScaling(
                factor,
                original,
                _yarn_attention_factor(section, factor),
                section.positive("beta_fast", 32.0),
                section.positive("beta_slow", 1.0),
                section.flag("truncate", True),
            )
        case "longrope":
            return LongRopeScaling(
                section.numbers("short_factor"),
                section.numbers("long_factor"),
                original,
                _longrope_attention_factor(section, section.positive("factor", context / original), original),
            )
        case "llama3":
            return Llama3Scaling(
                section.positive("factor"),
                section.positive("low_freq_factor"),
                section.positive("high_freq_factor"),
                original,
            )
    raise section.unsupported(kind_name, "known are default, linear, dynamic, yarn, longrope, llama3")


def _yarn_attention_factor(section: Settings, factor: float) -> float:
    stated = section.optional_number("attention_factor")
    if stated is not None:
        return stated
    mscale, mscale_all = section.number("mscale", 0.0), section.number("mscale_all_dim", 0.0)
    if mscale and mscale_all:
        return _yarn_magnitude(factor, mscale) / _yarn_magnitude(factor, mscale_all)
    return _yarn_magnitude(factor, 1.0)


def _yarn_magnitude(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def _longrope_attention_factor(section: Settings, factor: float, original: int) -> float:
    stated = section.optional_number("attention_factor")
    if stated is not None:
        return stated
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
