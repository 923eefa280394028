"""Llama and its kin: RMS norms, SwiGLU, rotary positions, grouped queries.

Mistral adds a window to every layer, Qwen 2 biases on queries, keys and values and a window to some layers,
Qwen 3 a norm of each head's queries and keys.
"""

from __future__ import annotations

from typing import Any

from gptapps.backbone.config import AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.families.family import Family, layer, row
from gptapps.backbone.families.rope import read_rotary, stretched_context, write_rotary, written_context
from gptapps.backbone.families.settings import ACTIVATION_NAMES, Settings
from gptapps.backbone.families.windows import FULL, SLIDING, layer_kinds, read_layer_kinds
from gptapps.backbone.transforms import GATE_UP, QKV
from gptapps.errors import UnsupportedModelError

ROWS = (
    *row("token_embedding.weight", "model.embed_tokens.weight"),
    *row("blocks.{i}.attention_norm.weight", "model.layers.{i}.input_layernorm.weight"),
    *layer("blocks.{i}.attention.qkv", *(f"model.layers.{{i}}.self_attn.{n}_proj" for n in "qkv"), transform=QKV),
    *row("blocks.{i}.attention.query_norm", "model.layers.{i}.self_attn.q_norm.weight"),
    *row("blocks.{i}.attention.key_norm", "model.layers.{i}.self_attn.k_norm.weight"),
    *layer("blocks.{i}.attention.output", "model.layers.{i}.self_attn.o_proj"),
    *row("blocks.{i}.feed_forward_norm.weight", "model.layers.{i}.post_attention_layernorm.weight"),
    *layer(
        "blocks.{i}.feed_forward.gate_up",
        "model.layers.{i}.mlp.gate_proj",
        "model.layers.{i}.mlp.up_proj",
        transform=GATE_UP,
    ),
    *layer("blocks.{i}.feed_forward.down", "model.layers.{i}.mlp.down_proj"),
    *row("final_norm.weight", "model.norm.weight"),
    *row("head.projection.weight", "lm_head.weight"),
)


def _read(
    settings: Settings,
    family: str,
    windows: tuple[int | None, ...],
    *,
    qkv_bias: bool,
    output_bias: bool,
    feed_forward_bias: bool = False,
    qk_norm: bool = False,
) -> GPTConfig:
    channels, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
    head_size = settings.whole("head_dim", channels // heads)
    rotary = read_rotary(settings, head_size)
    return GPTConfig(
        family=family,
        vocabulary_size=settings.whole("vocab_size"),
        context_length=stretched_context(settings.whole("max_position_embeddings"), rotary),
        channels=channels,
        layers=settings.whole("num_hidden_layers"),
        attention=AttentionConfig(
            heads=heads,
            kv_heads=settings.whole("num_key_value_heads", heads),
            head_size=head_size,
            scale=head_size**-0.5,
            qkv_bias=qkv_bias,
            output_bias=output_bias,
            qk_norm=qk_norm,
        ),
        feed_forward=FeedForwardConfig(
            settings.whole("intermediate_size"),
            settings.activation("hidden_act", "silu"),
            gated=True,
            bias=feed_forward_bias,
        ),
        norm=NormConfig(Norm.RMS, settings.number("rms_norm_eps", 1e-6)),
        wiring=Wiring.PRE_NORM,
        windows=windows,
        rotary=rotary,
        tied_vocabulary=settings.flag("tie_word_embeddings", False),
    )


def _read_llama(settings: Settings) -> GPTConfig:
    bias = settings.flag("attention_bias", False)
    return _read(
        settings,
        "llama",
        (None,) * settings.whole("num_hidden_layers"),
        qkv_bias=bias,
        output_bias=bias,
        feed_forward_bias=settings.flag("mlp_bias", False),
    )


def _read_mistral(settings: Settings) -> GPTConfig:
    # Absent means the first release's window, null means none.
    window = settings.optional_whole("sliding_window") if "sliding_window" in settings.values else 4096
    windows = (window,) * settings.whole("num_hidden_layers")
    return _read(settings, "mistral", windows, qkv_bias=False, output_bias=False)


def _read_qwen2(settings: Settings) -> GPTConfig:
    return _read(settings, "qwen2", _qwen_windows(settings), qkv_bias=True, output_bias=False)


def _read_qwen3(settings: Settings) -> GPTConfig:
    bias = settings.flag("attention_bias", False)
    return _read(settings, "qwen3", _qwen_windows(settings), qkv_bias=bias, output_bias=bias, qk_norm=True)


def _qwen_windows(settings: Settings) -> tuple[int | None, ...]:
    layers = settings.whole("num_hidden_layers")
    window = settings.optional_whole("sliding_window") if settings.flag("use_sliding_window", False) else None
    first = settings.whole("max_window_layers", 28, least=0)
    kinds = read_layer_kinds(settings, layers) or [SLIDING if i >= first else FULL for i in range(layers)]
    return tuple(window if kind == SLIDING else None for kind in kinds)


def _write(config: GPTConfig) -> dict[str, Any]:
    if config.rotary is None:
        raise UnsupportedModelError(f"A {config.family} model without rotary positions can't be written.")
    context = written_context(config.context_length, config.rotary)
    return {
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": context,
        "hidden_size": config.channels,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.attention.heads,
        "num_key_value_heads": config.attention.kv_heads,
        "head_dim": config.attention.head_size,
        "intermediate_size": config.feed_forward.size,
        "hidden_act": ACTIVATION_NAMES[config.feed_forward.activation],
        "rms_norm_eps": config.norm.epsilon,
        "tie_word_embeddings": config.tied_vocabulary,
        **write_rotary(config.rotary, config.attention.head_size, context),
    }


def _write_llama(config: GPTConfig) -> dict[str, Any]:
    return _write(config) | {
        "attention_bias": config.attention.qkv_bias,
        "mlp_bias": config.feed_forward.bias,
    }


def _write_mistral(config: GPTConfig) -> dict[str, Any]:
    return _write(config) | {"sliding_window": config.windows[0]}


def _write_qwen2(config: GPTConfig) -> dict[str, Any]:
    window = next((window for window in config.windows if window is not None), None)
    return _write(config) | {
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "layer_types": layer_kinds(config.windows),
    }


def _write_qwen3(config: GPTConfig) -> dict[str, Any]:
    return _write_qwen2(config) | {"attention_bias": config.attention.qkv_bias}


SPELLINGS = ((r"^(?!model\.|lm_head\.)", "model."),)
IGNORED = (r"\.rotary_emb\.inv_freq$",)

LLAMA, MISTRAL, QWEN2, QWEN3 = (
    Family(
        name=name,
        model_types=(name,),
        architecture=architecture,
        rows=ROWS,
        spellings=SPELLINGS,
        ignored=IGNORED,
        read_config=read,
        write_config=write,
    )
    for name, architecture, read, write in (
        ("llama", "LlamaForCausalLM", _read_llama, _write_llama),
        ("mistral", "MistralForCausalLM", _read_mistral, _write_mistral),
        ("qwen2", "Qwen2ForCausalLM", _read_qwen2, _write_qwen2),
        ("qwen3", "Qwen3ForCausalLM", _read_qwen3, _write_qwen3),
    )
)
