"""Rotary positions and the ways families stretch them to longer texts.

Source: Su et al. 2021 (RoFormer). Each scaling names its own source. ``theta_i = base ** (-2 i / R)`` is the
angle by which pair i turns from one position to the next; R is the number of rotated channels of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """Positions divided by ``factor`` (Chen et al. 2023, position interpolation)."""

    factor: float


@dataclass(frozen=True, slots=True)
class DynamicScaling:
    """A base that grows with the text once it is longer than ``original_context`` (NTK-aware scaling).

    The angles depend on the length of the text at the time a token is encoded, so a text read in one piece
    and the same text read token by token differ past ``original_context``.
    """

    factor: float
    original_context: int


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """Slow pairs interpolated, fast ones kept, a ramp between (Peng et al. 2023, YaRN, section 3.2)."""

    factor: float
    original_context: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class LongRopeScaling:
    """One divisor for each pair; another set once the text passes ``original_context`` (Ding et al. 2024)."""

    short_factors: tuple[float, ...]
    long_factors: tuple[float, ...]
    original_context: int
    attention_factor: float


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Wavelengths beyond the original context divided by ``factor``, a ramp before that (Llama 3.1)."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context: int


RopeScaling = LinearScaling | DynamicScaling | YarnScaling | LongRopeScaling | Llama3Scaling


@dataclass(frozen=True, slots=True)
class RotaryConfig:
    """Rotary positions of a layer.

    Attributes:
        base: the angles' base, 10,000 in the paper.
        size: R, rotated channels of each head; even, at most the head size.
        interleaved: pairs are neighbours (GPT-J) instead of half a head apart.
        scaling: how the angles are stretched; None for not at all.
    """

    base: float
    size: int
    interleaved: bool = False
    scaling: RopeScaling | None = None


def rotary_tables(config: RotaryConfig, positions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines and signed sines that :func:`gptapps.kernels.rotary` takes.

    Args:
        config: the layer's rotary positions.
        positions: (B, T) absolute position of each token.
        lengths: (B,) tokens of each row's text once these are read; length-dependent scalings look at it.

    Returns:
        Two float32 tensors (B, T, 1, R).
    """
    frequencies = _frequencies(config, lengths).to(positions.device)  # (R/2,) or (B, 1, R/2)
    angles = positions.unsqueeze(-1).float() * frequencies
    factor = getattr(config.scaling, "attention_factor", 1.0)
    cos, sin = angles.cos() * factor, angles.sin() * factor
    if config.interleaved:
        cos, sin = cos.repeat_interleave(2, -1), torch.stack((-sin, sin), -1).flatten(-2)
    else:
        cos, sin = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    return cos.unsqueeze(2), sin.unsqueeze(2)


def _frequencies(config: RotaryConfig, lengths: Tensor) -> Tensor:
    exponents = torch.arange(0, config.size, 2, dtype=torch.float32) / config.size
    plain = 1.0 / config.base**exponents
    match config.scaling:
        case None:
            return plain
        case LinearScaling(factor):
            return plain / factor
        case DynamicScaling(factor, original):
            lengths = lengths.cpu().float().clamp_min(original).view(-1, 1, 1)
            growth = (factor * lengths / original - (factor - 1)) ** (config.size / (config.size - 2))
            return torch.asarray(1.0 / (config.base * growth) ** exponents)
        case YarnScaling():
            return _yarn(config, config.scaling, plain)
        case LongRopeScaling(short, long, original):
            factors = torch.where(lengths.cpu().view(-1, 1, 1) > original, torch.tensor(long), torch.tensor(short))
            return plain / factors
        case Llama3Scaling():
            return _llama3(config.scaling, plain)


def _yarn(config: RotaryConfig, scaling: YarnScaling, plain: Tensor) -> Tensor:
    def pair_turning(rotations: float) -> float:
        return (config.size * math.log(scaling.original_context / (rotations * 2 * math.pi))) / (
            2 * math.log(config.base)
        )

    low, high = pair_turning(scaling.beta_fast), pair_turning(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.size - 1)
    steps = torch.arange(config.size // 2, dtype=torch.float32)
    interpolated = ((steps - low) / max(high - low, 0.001)).clamp(0, 1)
    return plain / scaling.factor * interpolated + plain * (1 - interpolated)


def _llama3(scaling: Llama3Scaling, plain: Tensor) -> Tensor:
    wavelengths = 2 * math.pi / plain
    low = scaling.original_context / scaling.low_frequency_factor
    high = scaling.original_context / scaling.high_frequency_factor
    smooth = (scaling.original_context / wavelengths - scaling.low_frequency_factor) / (
        scaling.high_frequency_factor - scaling.low_frequency_factor
    )
    between = (1 - smooth) * plain / scaling.factor + smooth * plain
    return torch.where(wavelengths < high, plain, torch.where(wavelengths > low, plain / scaling.factor, between))
