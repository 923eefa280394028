"""GPT-Neo: GPT-2 with separate projections, unscaled scores and every other layer banded, as in GPT-3."""

from __future__ import annotations

from typing import Any

from gptapps.backbone.config import AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.families.family import Family, layer, row
from gptapps.backbone.families.settings import ACTIVATION_NAMES, Settings
from gptapps.backbone.transforms import QKV

_KINDS = ("global", "local")


def _attention_kinds(settings: Settings, layers: int) -> list[str]:
    pattern = settings.items("attention_types")
    if pattern is None:
        pattern = [[list(_KINDS), 12]]
    try:
        kinds = [kind for names, count in pattern for _ in range(count) for kind in names]
    except (TypeError, ValueError) as error:
        raise settings.unsupported("attention_types", 'it should look like [[["global", "local"], 12]]') from error
    if len(kinds) != layers or not set(kinds) <= set(_KINDS):
        raise settings.unsupported("attention_types", f"it should name global or local for each of {layers} layers")
    return kinds


def _read(settings: Settings) -> GPTConfig:
    channels, heads = settings.whole("hidden_size", 2048), settings.whole("num_heads", 16)
    layers = settings.whole("num_layers", 24)
    window = settings.whole("window_size", 256)
    return GPTConfig(
        family="gpt_neo",
        vocabulary_size=settings.whole("vocab_size", 50257),
        context_length=settings.whole("max_position_embeddings", 2048),
        channels=channels,
        layers=layers,
        attention=AttentionConfig(
            heads=heads, kv_heads=heads, head_size=channels // heads, scale=1.0, qkv_bias=False, output_bias=True
        ),
        feed_forward=FeedForwardConfig(
            settings.whole("intermediate_size", 4 * channels),
            settings.activation("activation_function", "gelu_new"),
            gated=False,
            bias=True,
        ),
        norm=NormConfig(Norm.LAYER, settings.number("layer_norm_epsilon", 1e-5)),
        wiring=Wiring.PRE_NORM,
        windows=tuple(window if kind == "local" else None for kind in _attention_kinds(settings, layers)),
        tied_vocabulary=settings.flag("tie_word_embeddings", True),
    )


def _write(config: GPTConfig) -> dict[str, Any]:
    kinds = ["global" if window is None else "local" for window in config.windows]
    return {
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.channels,
        "num_layers": config.layers,
        "num_heads": config.attention.heads,
        "intermediate_size": config.feed_forward.size,
        "activation_function": ACTIVATION_NAMES[config.feed_forward.activation],
        "attention_types": [[kinds, 1]],
        "attention_layers": kinds,
        "window_size": next((window for window in config.windows if window is not None), 256),
        "layer_norm_epsilon": config.norm.epsilon,
        "tie_word_embeddings": config.tied_vocabulary,
    }


GPT_NEO = Family(
    name="gpt_neo",
    model_types=("gpt_neo",),
    architecture="GPTNeoForCausalLM",
    rows=(
        *row("token_embedding.weight", "transformer.wte.weight"),
        *row("position_embedding.weight", "transformer.wpe.weight"),
        *layer("blocks.{i}.attention_norm", "transformer.h.{i}.ln_1"),
        *layer(
            "blocks.{i}.attention.qkv",
            *(f"transformer.h.{{i}}.attn.attention.{name}_proj" for name in "qkv"),
            transform=QKV,
        ),
        *layer("blocks.{i}.attention.output", "transformer.h.{i}.attn.attention.out_proj"),
        *layer("blocks.{i}.feed_forward_norm", "transformer.h.{i}.ln_2"),
        *layer("blocks.{i}.feed_forward.up", "transformer.h.{i}.mlp.c_fc"),
        *layer("blocks.{i}.feed_forward.down", "transformer.h.{i}.mlp.c_proj"),
        *layer("final_norm", "transformer.ln_f"),
        *row("head.projection.weight", "lm_head.weight"),
    ),
    spellings=((r"^(?!transformer\.|lm_head\.)", "transformer."),),
    ignored=(r"\.attn\.attention\.(bias|masked_bias)$",),
    read_config=_read,
    write_config=_write,
)
