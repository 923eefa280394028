"""GGUF files in: which tensors an architecture holds, and what its metadata means.

The metadata is told in the words of a config.json, so that one reader per family understands both. Where GGUF
differs from the Hugging Face layout, the difference stands in these tables: the llama architecture keeps rotary
pairs side by side, Gemma's norms hold the scale itself, GPT-2's weights are (outputs, inputs), and GPT-NeoX's
queries, keys and values are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from gptapps.backbone.checkpoint import config_from_values
from gptapps.backbone.compact import CompactMatrix
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.families.family import Row, layer, row
from gptapps.backbone.families.settings import Settings
from gptapps.backbone.gguf_compact import compact_matrix
from gptapps.backbone.gguf_file import GGUFFile
from gptapps.backbone.transforms import GATE_UP, PAIRED_QKV, QKV, Transform
from gptapps.backbone.weights import Weights, assemble, matched
from gptapps.errors import UnsupportedModelError
from gptapps.registry import suggestion

_ROPE_FACTORS = "rope_freqs.weight"
_GEMMA_27B_LAYERS = 62


def read_gguf(path: Path) -> Weights:
    """Return what a GGUF file holds, dequantized to float32.

    Raises:
        CheckpointError: the file is truncated or damaged, or a tensor missing, surplus or misshapen.
        UnsupportedModelError: an architecture, an option or a tensor type that gptapps doesn't implement.

    Example:
        >>> read_gguf(Path("SmolLM2-135M-Instruct.Q4_1.gguf")).config.layers      # doctest: +SKIP
        30
    """
    file, rows, config = _header(path)
    return Weights(config, assemble(config, rows, file, ignored=_is_ignored))


def read_compact_gguf(path: Path) -> Weights:
    """Return what a GGUF file holds, its matrices in the bits they have there, but those of them that are float32.

    Raises:
        CheckpointError, UnsupportedModelError: as :func:`read_gguf` does.
        OptionError: a matrix is of a type that can't be held so.
    """
    file, rows, config = _header(path)
    tensors: dict[str, Tensor] = {}
    matrices: dict[str, CompactMatrix] = {}
    for line, names in matched(config, rows, file, ignored=_is_ignored):
        if compact := compact_matrix(file, line, names, config.attention):
            matrices[line.ours] = compact
        else:
            tensors[line.ours] = line.transform.join([file.read(name) for name in names], config.attention)
    return Weights(config, tensors, matrices)


def read_gguf_config(path: Path) -> GPTConfig:
    """Return the configuration of a GGUF file's model, of which only the header is read.

    Raises:
        CheckpointError, UnsupportedModelError: as :func:`read_gguf` does.
    """
    return _header(path)[2]


def _is_ignored(name: str) -> bool:
    return name == _ROPE_FACTORS


def _header(path: Path) -> tuple[GGUFFile, tuple[Row, ...], GPTConfig]:
    metadata = _Metadata(GGUFFile(path))
    architecture = metadata.architecture
    if architecture not in _READERS:
        raise UnsupportedModelError(
            f"{path} holds a {architecture!r} model, which gptapps doesn't know."
            f"{suggestion(architecture, _READERS)} Known GGUF architectures: {', '.join(sorted(_READERS))}."
        )
    if metadata.get("expert_count"):
        raise UnsupportedModelError(f"{path} holds a mixture of experts, which no family of gptapps is.")
    read_values, rows = _READERS[architecture]
    return metadata.file, rows, config_from_values(read_values(metadata), str(path))


class _Metadata:
    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.tensors = frozenset(file.names())
        self.architecture = str(file.get("general.architecture"))
        prefix = f"{self.architecture}."
        values = {key.removeprefix(prefix): file.get(key) for key in file.fields() if key.startswith(prefix)}
        self.settings = Settings(values, file.place)

    def get(self, key: str, default: Any = None) -> Any:
        return self.settings.values.get(key, default)

    def common(self, model_type: str) -> dict[str, Any]:
        rows = self.file.shape("token_embd.weight")[0] if "token_embd.weight" in self.tensors else None
        return {
            "model_type": model_type,
            "vocab_size": rows,
            "max_position_embeddings": self.get("context_length"),
            "hidden_size": self.get("embedding_length"),
            "num_hidden_layers": self.get("block_count"),
            "num_attention_heads": self.get("attention.head_count"),
            "num_key_value_heads": self.get("attention.head_count_kv"),
            "head_dim": self.get("attention.key_length"),
            "intermediate_size": self.get("feed_forward_length"),
            "rms_norm_eps": self.get("attention.layer_norm_rms_epsilon"),
            "tie_word_embeddings": "output.weight" not in self.tensors,
        }

    def rope(self, base: float = 10_000.0) -> dict[str, Any]:
        settings = self.settings
        heads, channels = settings.whole("attention.head_count"), settings.whole("embedding_length")
        head_size = settings.whole("attention.key_length", max(1, channels // heads))
        values: dict[str, Any] = {
            "rope_type": "default",
            "rope_theta": settings.positive("rope.freq_base", base),
            "partial_rotary_factor": settings.whole("rope.dimension_count", head_size) / head_size,
        }
        context = settings.whole("context_length")
        scaling = settings.text("rope.scaling.type", "none")
        factor = settings.positive("rope.scaling.factor", 1.0)
        if _ROPE_FACTORS in self.tensors:
            factors = self.file.read(_ROPE_FACTORS).tolist()
            values |= {"rope_type": "longrope", "factor": 1.0, "short_factor": factors, "long_factor": factors}
            values |= {"attention_factor": 1.0, "original_max_position_embeddings": context}
        elif scaling == "linear":
            values |= {"rope_type": "linear", "factor": factor}
        elif scaling == "yarn":
            values |= {
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": self.get("rope.scaling.original_context_length", context),
                "beta_fast": self.get("rope.scaling.yarn_beta_fast", 32.0),
                "beta_slow": self.get("rope.scaling.yarn_beta_slow", 1.0),
            }
        elif scaling != "none":
            raise UnsupportedModelError(
                f"{self.file.place} scales its rotary positions by {scaling!r}: gptapps knows linear and yarn."
            )
        return values


def _llama(metadata: _Metadata) -> dict[str, Any]:
    window = metadata.get("attention.sliding_window")
    rope = metadata.rope()
    return metadata.common("mistral" if window else "llama") | {
        "sliding_window": window,
        "attention_bias": "blk.0.attn_q.bias" in metadata.tensors,
        "mlp_bias": "blk.0.ffn_down.bias" in metadata.tensors,
        "max_position_embeddings": _unstretched(metadata, rope),
        "rope_parameters": rope,
    }


def _qwen(metadata: _Metadata) -> dict[str, Any]:
    rope = metadata.rope()
    return metadata.common(metadata.architecture) | {
        "max_position_embeddings": _unstretched(metadata, rope),
        "rope_parameters": rope,
    }


def _unstretched(metadata: _Metadata, rope: Mapping[str, Any]) -> int:
    # GGUF states the context after a linear scaling, config.json before it.
    context = metadata.settings.whole("context_length")
    return int(context / rope["factor"]) if rope["rope_type"] == "linear" else context


def _gemma3(metadata: _Metadata) -> dict[str, Any]:
    values = metadata.common("gemma3_text")
    # The 27B model alone scales its scores by what a head would have if the heads shared the channels.
    settings = metadata.settings
    if settings.whole("block_count") == _GEMMA_27B_LAYERS:
        score_size = settings.whole("embedding_length") // settings.whole("attention.head_count")
    else:
        score_size = settings.whole("attention.key_length", 256)
    return values | {
        "query_pre_attn_scalar": score_size,
        "sliding_window": metadata.get("attention.sliding_window"),
        "final_logit_softcapping": metadata.get("final_logit_softcapping"),
        "rope_parameters": {
            "full_attention": metadata.rope(1_000_000.0),
            "sliding_attention": {"rope_theta": metadata.get("rope.freq_base_swa", 10_000.0)},
        },
    }


def _gpt2(metadata: _Metadata) -> dict[str, Any]:
    values = metadata.common("gpt2")
    return values | {
        "n_positions": values["max_position_embeddings"],
        "n_embd": values["hidden_size"],
        "n_layer": values["num_hidden_layers"],
        "n_head": values["num_attention_heads"],
        "n_inner": values["intermediate_size"],
        "layer_norm_epsilon": metadata.get("attention.layer_norm_epsilon"),
    }


def _gpt_neox(metadata: _Metadata) -> dict[str, Any]:
    return metadata.common("gpt_neox") | {
        "layer_norm_eps": metadata.get("attention.layer_norm_epsilon"),
        "use_parallel_residual": metadata.get("use_parallel_residual", True),
        "attention_bias": "blk.0.attn_qkv.bias" in metadata.tensors,
        "rope_parameters": metadata.rope(),
    }


def _gated_rows(qkv: Transform) -> tuple[Row, ...]:
    return (
        *row("token_embedding.weight", "token_embd.weight"),
        *row("blocks.{i}.attention_norm.weight", "blk.{i}.attn_norm.weight"),
        *layer("blocks.{i}.attention.qkv", *(f"blk.{{i}}.attn_{name}" for name in "qkv"), transform=qkv),
        *row("blocks.{i}.attention.query_norm", "blk.{i}.attn_q_norm.weight"),
        *row("blocks.{i}.attention.key_norm", "blk.{i}.attn_k_norm.weight"),
        *layer("blocks.{i}.attention.output", "blk.{i}.attn_output"),
        *row("blocks.{i}.attention_output_norm.weight", "blk.{i}.post_attention_norm.weight"),
        *row("blocks.{i}.feed_forward_norm.weight", "blk.{i}.ffn_norm.weight"),
        *layer("blocks.{i}.feed_forward.gate_up", "blk.{i}.ffn_gate", "blk.{i}.ffn_up", transform=GATE_UP),
        *layer("blocks.{i}.feed_forward.down", "blk.{i}.ffn_down"),
        *row("blocks.{i}.feed_forward_output_norm.weight", "blk.{i}.post_ffw_norm.weight"),
        *row("final_norm.weight", "output_norm.weight"),
        *row("head.projection.weight", "output.weight"),
    )


_PLAIN_ROWS = (
    *row("token_embedding.weight", "token_embd.weight"),
    *row("position_embedding.weight", "position_embd.weight"),
    *layer("blocks.{i}.attention_norm", "blk.{i}.attn_norm"),
    *layer("blocks.{i}.attention.qkv", "blk.{i}.attn_qkv"),
    *layer("blocks.{i}.attention.output", "blk.{i}.attn_output"),
    *layer("blocks.{i}.feed_forward_norm", "blk.{i}.ffn_norm"),
    *layer("blocks.{i}.feed_forward.up", "blk.{i}.ffn_up"),
    *layer("blocks.{i}.feed_forward.down", "blk.{i}.ffn_down"),
    *layer("final_norm", "output_norm"),
    *row("head.projection.weight", "output.weight"),
)

_READERS: Mapping[str, tuple[Callable[[_Metadata], dict[str, Any]], tuple[Row, ...]]] = MappingProxyType(
    {
        "llama": (_llama, _gated_rows(PAIRED_QKV)),
        "qwen2": (_qwen, _gated_rows(QKV)),
        "qwen3": (_qwen, _gated_rows(QKV)),
        "gemma3": (_gemma3, _gated_rows(QKV)),
        "gpt2": (_gpt2, _PLAIN_ROWS),
        "gptneox": (_gpt_neox, _PLAIN_ROWS),
    }
)
