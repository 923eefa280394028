"""Families of GPT checkpoints: which tensors they hold and what their config.json means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gptapps.backbone.families.family import Family
from gptapps.backbone.families.gemma3 import GEMMA3
from gptapps.backbone.families.gpt2 import GPT1, GPT2
from gptapps.backbone.families.gpt_neo import GPT_NEO
from gptapps.backbone.families.gpt_neox import GPT_NEOX
from gptapps.backbone.families.gptj import GPTJ
from gptapps.backbone.families.llama import LLAMA, MISTRAL, QWEN2, QWEN3

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        model_type: family
        for family in (GPT1, GPT2, GPT_NEO, GPTJ, GPT_NEOX, LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA3)
        for model_type in family.model_types
    }
)
"""Every ``model_type`` that can be read, and its family."""

__all__ = ["FAMILIES", "Family"]
