"""GPT-NeoX and Pythia: partial rotary positions, two norms side by side, projections fused head by head."""

from __future__ import annotations

from typing import Any

from gptapps.backbone.config import AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.families.family import Family, layer, row
from gptapps.backbone.families.rope import read_rotary, stretched_context, write_rotary, written_context
from gptapps.backbone.families.settings import ACTIVATION_NAMES, Settings
from gptapps.backbone.transforms import INTERLEAVED_QKV
from gptapps.errors import UnsupportedModelError


def _read(settings: Settings) -> GPTConfig:
    channels, heads = settings.whole("hidden_size", 6144), settings.whole("num_attention_heads", 64)
    layers, head_size = settings.whole("num_hidden_layers", 44), channels // heads
    bias = settings.flag("attention_bias", True)
    parallel = settings.flag("use_parallel_residual", True)
    rotary = read_rotary(
        settings, head_size, base_name="rotary_emb_base", fraction=settings.positive("rotary_pct", 0.25)
    )
    return GPTConfig(
        family="gpt_neox",
        vocabulary_size=settings.whole("vocab_size", 50432),
        context_length=stretched_context(settings.whole("max_position_embeddings", 2048), rotary),
        channels=channels,
        layers=layers,
        attention=AttentionConfig(
            heads=heads,
            kv_heads=heads,
            head_size=head_size,
            scale=head_size**-0.5,
            qkv_bias=bias,
            output_bias=bias,
        ),
        feed_forward=FeedForwardConfig(
            settings.whole("intermediate_size", 24576),
            settings.activation("hidden_act", "gelu"),
            gated=False,
            bias=True,
        ),
        norm=NormConfig(Norm.LAYER, settings.number("layer_norm_eps", 1e-5)),
        wiring=Wiring.PARALLEL_TWO_NORMS if parallel else Wiring.PRE_NORM,
        windows=(None,) * layers,
        rotary=rotary,
        tied_vocabulary=settings.flag("tie_word_embeddings", False),
    )


def _write(config: GPTConfig) -> dict[str, Any]:
    if config.rotary is None:
        raise UnsupportedModelError("A GPT-NeoX model without rotary positions can't be written: none has them.")
    context = written_context(config.context_length, config.rotary)
    return {
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": context,
        "hidden_size": config.channels,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.attention.heads,
        "intermediate_size": config.feed_forward.size,
        "hidden_act": ACTIVATION_NAMES[config.feed_forward.activation],
        "layer_norm_eps": config.norm.epsilon,
        "use_parallel_residual": config.wiring is Wiring.PARALLEL_TWO_NORMS,
        "attention_bias": config.attention.qkv_bias,
        "rotary_pct": config.rotary.size / config.attention.head_size,
        "rotary_emb_base": config.rotary.base,
        "tie_word_embeddings": config.tied_vocabulary,
        **write_rotary(config.rotary, config.attention.head_size, context),
    }


GPT_NEOX = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    architecture="GPTNeoXForCausalLM",
    rows=(
        *row("token_embedding.weight", "gpt_neox.embed_in.weight"),
        *layer("blocks.{i}.attention_norm", "gpt_neox.layers.{i}.input_layernorm"),
        *layer("blocks.{i}.attention.qkv", "gpt_neox.layers.{i}.attention.query_key_value", transform=INTERLEAVED_QKV),
        *layer("blocks.{i}.attention.output", "gpt_neox.layers.{i}.attention.dense"),
        *layer("blocks.{i}.feed_forward_norm", "gpt_neox.layers.{i}.post_attention_layernorm"),
        *layer("blocks.{i}.feed_forward.up", "gpt_neox.layers.{i}.mlp.dense_h_to_4h"),
        *layer("blocks.{i}.feed_forward.down", "gpt_neox.layers.{i}.mlp.dense_4h_to_h"),
        *layer("final_norm", "gpt_neox.final_layer_norm"),
        *row("head.projection.weight", "embed_out.weight"),
    ),
    spellings=((r"^lm_head\.", "embed_out."), (r"^(?!gpt_neox\.|embed_out\.)", "gpt_neox.")),
    ignored=(r"\.attention\.(bias|masked_bias)$", r"\.rotary_emb\.inv_freq$"),
    read_config=_read,
    write_config=_write,
)
