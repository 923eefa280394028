"""GPT-1 and GPT-2: learned positions, fused Conv1D projections, tied vocabulary."""

from __future__ import annotations

from typing import Any

from gptapps.backbone.config import (
    Activation,
    AttentionConfig,
    FeedForwardConfig,
    GPTConfig,
    Norm,
    NormConfig,
    Wiring,
)
from gptapps.backbone.families.family import Family, Row, layer, row
from gptapps.backbone.families.settings import ACTIVATION_NAMES, Settings
from gptapps.backbone.transforms import IDENTITY, TRANSPOSE


def _rows(tokens: str, positions: str) -> tuple[Row, ...]:
    return (
        *row("token_embedding.weight", f"transformer.{tokens}.weight"),
        *row("position_embedding.weight", f"transformer.{positions}.weight"),
        *layer("blocks.{i}.attention_norm", "transformer.h.{i}.ln_1"),
        *layer("blocks.{i}.attention.qkv", "transformer.h.{i}.attn.c_attn", transform=TRANSPOSE, bias=IDENTITY),
        *layer("blocks.{i}.attention.output", "transformer.h.{i}.attn.c_proj", transform=TRANSPOSE, bias=IDENTITY),
        *layer("blocks.{i}.feed_forward_norm", "transformer.h.{i}.ln_2"),
        *layer("blocks.{i}.feed_forward.up", "transformer.h.{i}.mlp.c_fc", transform=TRANSPOSE, bias=IDENTITY),
        *layer("blocks.{i}.feed_forward.down", "transformer.h.{i}.mlp.c_proj", transform=TRANSPOSE, bias=IDENTITY),
        *layer("final_norm", "transformer.ln_f"),
        *row("head.projection.weight", "lm_head.weight"),
    )


def _read_gpt2(settings: Settings) -> GPTConfig:
    settings.refuse_unless("scale_attn_by_inverse_layer_idx", False)
    settings.refuse_unless("add_cross_attention", False)
    channels = settings.whole("n_embd", 768)
    return _config(
        settings,
        family="gpt2",
        scaled=settings.flag("scale_attn_weights", True),
        feed_forward=settings.whole("n_inner", 4 * channels),
        activation=settings.activation("activation_function", "gelu_new"),
        wiring=Wiring.PRE_NORM,
    )


def _read_gpt1(settings: Settings) -> GPTConfig:
    activation = settings.activation("afn", "gelu")
    # GPT-1's own code calls the approximation by tanh "gelu".
    return _config(
        settings,
        family="openai-gpt",
        scaled=True,
        feed_forward=4 * settings.whole("n_embd", 768),
        activation=Activation.GELU_TANH if activation is Activation.GELU else activation,
        wiring=Wiring.POST_NORM,
    )


def _config(
    settings: Settings, *, family: str, scaled: bool, feed_forward: int, activation: Activation, wiring: Wiring
) -> GPTConfig:
    channels, heads = settings.whole("n_embd", 768), settings.whole("n_head", 12)
    head_size = channels // heads
    layers = settings.whole("n_layer", 12)
    return GPTConfig(
        family=family,
        vocabulary_size=settings.whole("vocab_size", 50257),
        context_length=settings.whole("n_positions", 512 if wiring is Wiring.POST_NORM else 1024),
        channels=channels,
        layers=layers,
        attention=AttentionConfig(
            heads=heads,
            kv_heads=heads,
            head_size=head_size,
            scale=head_size**-0.5 if scaled else 1.0,
            qkv_bias=True,
            output_bias=True,
        ),
        feed_forward=FeedForwardConfig(feed_forward, activation, gated=False, bias=True),
        norm=NormConfig(Norm.LAYER, settings.number("layer_norm_epsilon", 1e-5)),
        wiring=wiring,
        windows=(None,) * layers,
        final_norm=wiring is Wiring.PRE_NORM,
        tied_vocabulary=settings.flag("tie_word_embeddings", True),
    )


def _write_common(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocabulary_size,
        "n_positions": config.context_length,
        "n_embd": config.channels,
        "n_layer": config.layers,
        "n_head": config.attention.heads,
        "layer_norm_epsilon": config.norm.epsilon,
        "tie_word_embeddings": config.tied_vocabulary,
    }


def _write_gpt2(config: GPTConfig) -> dict[str, Any]:
    return _write_common(config) | {
        "n_inner": config.feed_forward.size,
        "activation_function": ACTIVATION_NAMES[config.feed_forward.activation],
        "scale_attn_weights": config.attention.scale != 1.0,
    }


def _write_gpt1(config: GPTConfig) -> dict[str, Any]:
    activation = config.feed_forward.activation
    return _write_common(config) | {
        "afn": "gelu" if activation is Activation.GELU_TANH else ACTIVATION_NAMES[activation]
    }


_SPELLINGS = ((r"^(?!transformer\.|lm_head\.)", "transformer."),)
_IGNORED = (r"\.attn\.(bias|masked_bias)$", r"^transformer\.position_ids$")

GPT2 = Family(
    name="gpt2",
    model_types=("gpt2",),
    architecture="GPT2LMHeadModel",
    rows=_rows("wte", "wpe"),
    spellings=_SPELLINGS,
    ignored=_IGNORED,
    read_config=_read_gpt2,
    write_config=_write_gpt2,
)

GPT1 = Family(
    name="openai-gpt",
    model_types=("openai-gpt",),
    architecture="OpenAIGPTLMHeadModel",
    rows=_rows("tokens_embed", "positions_embed"),
    spellings=_SPELLINGS,
    ignored=_IGNORED,
    read_config=_read_gpt1,
    write_config=_write_gpt1,
)
