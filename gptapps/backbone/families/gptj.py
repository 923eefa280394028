"""GPT-J: interleaved rotary positions on a part of each head, attention and feed-forward side by side."""

from __future__ import annotations

from typing import Any

from gptapps.backbone.config import AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.families.family import Family, layer, row
from gptapps.backbone.families.settings import ACTIVATION_NAMES, Settings
from gptapps.backbone.rotary import RotaryConfig
from gptapps.backbone.transforms import QKV


def _read(settings: Settings) -> GPTConfig:
    channels, heads = settings.whole("n_embd", 4096), settings.whole("n_head", 16)
    layers, head_size = settings.whole("n_layer", 28), channels // heads
    if "rotary_dim" in settings.values and not settings.has("rotary_dim"):
        raise settings.unsupported("rotary_dim", "it should say how many channels of each head are rotated")
    return GPTConfig(
        family="gptj",
        vocabulary_size=settings.whole("vocab_size", 50400),
        context_length=settings.whole("n_positions", 2048),
        channels=channels,
        layers=layers,
        attention=AttentionConfig(heads=heads, kv_heads=heads, head_size=head_size, scale=head_size**-0.5),
        feed_forward=FeedForwardConfig(
            settings.whole("n_inner", 4 * channels),
            settings.activation("activation_function", "gelu_new"),
            gated=False,
            bias=True,
        ),
        norm=NormConfig(Norm.LAYER, settings.number("layer_norm_epsilon", 1e-5)),
        wiring=Wiring.PARALLEL,
        windows=(None,) * layers,
        rotary=RotaryConfig(base=10_000.0, size=settings.whole("rotary_dim", 64), interleaved=True),
        tied_vocabulary=settings.flag("tie_word_embeddings", False),
        vocabulary_bias=True,
    )


def _write(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocabulary_size,
        "n_positions": config.context_length,
        "n_embd": config.channels,
        "n_layer": config.layers,
        "n_head": config.attention.heads,
        "rotary_dim": config.rotary.size if config.rotary else None,
        "n_inner": config.feed_forward.size,
        "activation_function": ACTIVATION_NAMES[config.feed_forward.activation],
        "layer_norm_epsilon": config.norm.epsilon,
        "tie_word_embeddings": config.tied_vocabulary,
    }


GPTJ = Family(
    name="gptj",
    model_types=("gptj",),
    architecture="GPTJForCausalLM",
    rows=(
        *row("token_embedding.weight", "transformer.wte.weight"),
        *layer("blocks.{i}.attention_norm", "transformer.h.{i}.ln_1"),
        *layer("blocks.{i}.attention.qkv", *(f"transformer.h.{{i}}.attn.{name}_proj" for name in "qkv"), transform=QKV),
        *layer("blocks.{i}.attention.output", "transformer.h.{i}.attn.out_proj"),
        *layer("blocks.{i}.feed_forward.up", "transformer.h.{i}.mlp.fc_in"),
        *layer("blocks.{i}.feed_forward.down", "transformer.h.{i}.mlp.fc_out"),
        *layer("final_norm", "transformer.ln_f"),
        *layer("head.projection", "lm_head"),
    ),
    spellings=((r"^(?!transformer\.|lm_head\.)", "transformer."),),
    ignored=(r"\.attn\.(bias|masked_bias|embed_positions)$",),
    read_config=_read,
    write_config=_write,
)
