"""Gemma 3 (text): sandwich norms, GEGLU, norms of queries and keys, mostly local layers, scaled embeddings."""

from __future__ import annotations

from typing import Any

from gptapps.backbone.config import AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.families.family import Family, layer, row
from gptapps.backbone.families.rope import rope_parameters, rotary_of
from gptapps.backbone.families.settings import ACTIVATION_NAMES, Settings
from gptapps.backbone.families.windows import FULL, SLIDING, layer_kinds, read_layer_kinds
from gptapps.backbone.rotary import RotaryConfig
from gptapps.backbone.transforms import GATE_UP, PLUS_ONE, QKV
from gptapps.errors import UnsupportedModelError


def _rotaries(settings: Settings, head_size: int) -> tuple[RotaryConfig, RotaryConfig]:
    by_kind = settings.section("rope_parameters")
    everywhere = settings.section("rope_scaling") or (by_kind.section(FULL) if by_kind else None)
    local = by_kind.section(SLIDING) if by_kind else None
    return (
        rotary_of(everywhere, settings, head_size, base=settings.positive("rope_theta", 1_000_000.0)),
        rotary_of(local, settings, head_size, base=settings.positive("rope_local_base_freq", 10_000.0)),
    )


def _read(settings: Settings) -> GPTConfig:
    settings = settings.section("text_config") or settings
    settings.refuse_unless("attn_logit_softcapping")
    settings.refuse_unless("use_bidirectional_attention", False)
    layers, head_size = settings.whole("num_hidden_layers", 26), settings.whole("head_dim", 256)
    channels, bias = settings.whole("hidden_size", 2304), settings.flag("attention_bias", False)
    window, pattern = settings.whole("sliding_window", 4096), settings.whole("sliding_window_pattern", 6)
    kinds = read_layer_kinds(settings, layers) or [SLIDING if (i + 1) % pattern else FULL for i in range(layers)]
    rotary, local_rotary = _rotaries(settings, head_size)
    return GPTConfig(
        family="gemma3_text",
        vocabulary_size=settings.whole("vocab_size", 262_208),
        context_length=settings.whole("max_position_embeddings", 131_072),
        channels=channels,
        layers=layers,
        attention=AttentionConfig(
            heads=settings.whole("num_attention_heads", 8),
            kv_heads=settings.whole("num_key_value_heads", 4),
            head_size=head_size,
            scale=settings.positive("query_pre_attn_scalar", 256) ** -0.5,
            qkv_bias=bias,
            output_bias=bias,
            qk_norm=True,
        ),
        feed_forward=FeedForwardConfig(
            settings.whole("intermediate_size", 9216),
            settings.activation("hidden_activation", "gelu_pytorch_tanh"),
            gated=True,
            bias=False,
        ),
        norm=NormConfig(Norm.RMS, settings.number("rms_norm_eps", 1e-6)),
        wiring=Wiring.SANDWICH,
        windows=tuple(window if kind == SLIDING else None for kind in kinds),
        rotary=rotary,
        local_rotary=local_rotary,
        embedding_scale=channels**0.5,
        tied_vocabulary=settings.flag("tie_word_embeddings", True),
        logit_cap=settings.optional_number("final_logit_softcapping"),
    )


def _write(config: GPTConfig) -> dict[str, Any]:
    if config.rotary is None or config.local_rotary is None:
        raise UnsupportedModelError("A Gemma 3 model without rotary positions can't be written.")
    head_size, context = config.attention.head_size, config.context_length
    everywhere = rope_parameters(config.rotary, head_size, context)
    written: dict[str, Any] = {
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": context,
        "hidden_size": config.channels,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.attention.heads,
        "num_key_value_heads": config.attention.kv_heads,
        "head_dim": head_size,
        "query_pre_attn_scalar": round(config.attention.scale**-2),
        "attention_bias": config.attention.qkv_bias,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": config.logit_cap,
        "intermediate_size": config.feed_forward.size,
        "hidden_activation": ACTIVATION_NAMES[config.feed_forward.activation],
        "rms_norm_eps": config.norm.epsilon,
        "sliding_window": next((window for window in config.windows if window is not None), 4096),
        "layer_types": layer_kinds(config.windows),
        "rope_parameters": {FULL: everywhere, SLIDING: rope_parameters(config.local_rotary, head_size, context)},
        "rope_theta": config.rotary.base,
        "rope_local_base_freq": config.local_rotary.base,
        "tie_word_embeddings": config.tied_vocabulary,
    }
    if config.rotary.scaling is not None:
        written["rope_scaling"] = {key: value for key, value in everywhere.items() if key != "rope_theta"}
    return written


GEMMA3 = Family(
    name="gemma3_text",
    model_types=("gemma3_text", "gemma3"),
    architecture="Gemma3ForCausalLM",
    rows=(
        *row("token_embedding.weight", "model.embed_tokens.weight"),
        *row("blocks.{i}.attention_norm.weight", "model.layers.{i}.input_layernorm.weight", transform=PLUS_ONE),
        *layer("blocks.{i}.attention.qkv", *(f"model.layers.{{i}}.self_attn.{n}_proj" for n in "qkv"), transform=QKV),
        *row("blocks.{i}.attention.query_norm", "model.layers.{i}.self_attn.q_norm.weight", transform=PLUS_ONE),
        *row("blocks.{i}.attention.key_norm", "model.layers.{i}.self_attn.k_norm.weight", transform=PLUS_ONE),
        *layer("blocks.{i}.attention.output", "model.layers.{i}.self_attn.o_proj"),
        *row(
            "blocks.{i}.attention_output_norm.weight",
            "model.layers.{i}.post_attention_layernorm.weight",
            transform=PLUS_ONE,
        ),
        *row(
            "blocks.{i}.feed_forward_norm.weight",
            "model.layers.{i}.pre_feedforward_layernorm.weight",
            transform=PLUS_ONE,
        ),
        *row(
            "blocks.{i}.feed_forward.gate_up.weight",
            "model.layers.{i}.mlp.gate_proj.weight",
            "model.layers.{i}.mlp.up_proj.weight",
            transform=GATE_UP,
        ),
        *row("blocks.{i}.feed_forward.down.weight", "model.layers.{i}.mlp.down_proj.weight"),
        *row(
            "blocks.{i}.feed_forward_output_norm.weight",
            "model.layers.{i}.post_feedforward_layernorm.weight",
            transform=PLUS_ONE,
        ),
        *row("final_norm.weight", "model.norm.weight", transform=PLUS_ONE),
        *row("head.projection.weight", "lm_head.weight"),
    ),
    # A checkpoint with a vision tower holds the text model under a longer name.
    spellings=(
        (r"^language_model\.lm_head\.", "lm_head."),
        (r"^(model\.language_model|language_model\.model)\.", "model."),
        (r"^(?!model\.|lm_head\.)", "model."),
    ),
    ignored=(r"\.rotary_emb\.\w*inv_freq$", r"^model\.(vision_tower|multi_modal_projector)\."),
    read_config=_read,
    write_config=_write,
)
