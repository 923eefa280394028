"""Tiny GGUF files made from transformers models, the way llama.cpp's converter lays them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, MODEL_ARCH, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray
from transformers import PreTrainedModel

Array = NDArray[Any]
F32 = GGMLQuantizationType.F32
_ARCHITECTURES = {
    "llama": MODEL_ARCH.LLAMA,
    "mistral": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
    "gemma3_text": MODEL_ARCH.GEMMA3,
    "gpt2": MODEL_ARCH.GPT2,
    "gpt_neox": MODEL_ARCH.GPTNEOX,
}


def encode(values: Array, kind: GGMLQuantizationType) -> Array:
    """Return ``values`` (rows, columns) in a tensor type; random blocks where the package can't quantize."""
    if kind not in (GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K):
        return quantize(values, kind)
    block, size = GGML_QUANT_SIZES[kind]
    blocks = np.random.default_rng(values.size).integers(0, 256, (values.size // block, size), dtype=np.uint8)
    if kind is GGMLQuantizationType.Q6_K:
        blocks[:, -2:] = np.frombuffer(np.float16(2e-5).tobytes(), np.uint8)
    else:
        blocks[:, :4] = np.frombuffer(np.array([2e-4, 1e-3], np.float16).tobytes(), np.uint8)
    return blocks.reshape(len(values), -1)


def _layouts(model: PreTrainedModel) -> tuple[Callable[[str, Array], Array], Callable[[str, Array], Array]]:
    config = model.config
    kind = config.model_type

    def heads_of(name: str) -> int:
        return config.num_key_value_heads if "k_proj" in name else config.num_attention_heads

    def into(name: str, values: Array) -> Array:
        if kind in ("llama", "mistral") and ("q_proj" in name or "k_proj" in name):
            return values.reshape(heads_of(name), 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        if kind == "gemma3_text" and name.endswith("norm.weight"):
            return values + 1
        if kind == "gpt2" and values.ndim == 2 and ".h." in name:
            return values.T
        if kind == "gpt_neox" and "query_key_value" in name:
            heads = config.num_attention_heads
            return values.reshape(heads, 3, -1, *values.shape[1:]).swapaxes(0, 1).reshape(values.shape)
        return values

    def back(name: str, values: Array) -> Array:
        if kind in ("llama", "mistral") and ("q_proj" in name or "k_proj" in name):
            return values.reshape(heads_of(name), -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        if kind == "gemma3_text" and name.endswith("norm.weight"):
            return values - 1
        if kind == "gpt2" and values.ndim == 2 and ".h." in name:
            return values.T
        if kind == "gpt_neox" and "query_key_value" in name:
            heads = config.num_attention_heads
            return values.reshape(3, heads, -1, *values.shape[1:]).swapaxes(0, 1).reshape(values.shape)
        return values

    return into, back


def write_gguf(
    model: PreTrainedModel,
    path: Path,
    kind: GGMLQuantizationType | Callable[[str], GGMLQuantizationType] = F32,
    *,
    change: Callable[[gguf.GGUFWriter, str], None] = lambda writer, architecture: None,
) -> None:
    """Write ``model`` as a GGUF file and give it the weights that the file's tensor type can hold.

    Args:
        model: changed to what a reader of the file will see.
        path: where to.
        kind: tensor type of the matrices, or of each by its name; vectors stay in float32.
        change: adds metadata and tensors.
    """
    config = model.config
    architecture = _ARCHITECTURES[config.model_type]
    label = gguf.MODEL_ARCH_NAMES[architecture]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    into, back = _layouts(model)
    writer = gguf.GGUFWriter(path, label)
    _add_metadata(writer, label, config)
    change(writer, label)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # a tied output projection appears once
            theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
            assert theirs is not None, name
            values = np.ascontiguousarray(into(name, parameter.numpy()))
            its_kind = kind if isinstance(kind, GGMLQuantizationType) else kind(name)
            if its_kind is not F32 and values.ndim == 2:
                encoded = encode(values, its_kind)
                values = dequantize(encoded, its_kind)
                writer.add_tensor(theirs, encoded, raw_dtype=its_kind)
            else:
                writer.add_tensor(theirs, values)
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(back(name, values))))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()


def _add_metadata(writer: gguf.GGUFWriter, label: str, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_head_count_kv(config.num_key_value_heads)
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
    else:
        writer.add_layer_norm_eps(getattr(config, "layer_norm_eps", None) or config.layer_norm_epsilon)
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    if rope:
        writer.add_rope_freq_base(rope["rope_theta"])
    if config.model_type == "gpt_neox":
        size = config.hidden_size // config.num_attention_heads
        writer.add_rope_dimension_count(int(size * rope["partial_rotary_factor"]))
        writer.add_parallel_residual(config.use_parallel_residual)
    if config.model_type in ("gemma3_text", "mistral"):
        writer.add_sliding_window(config.sliding_window)
    if rope.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_float32(f"{label}.rope.scaling.yarn_beta_fast", rope["beta_fast"])
        writer.add_float32(f"{label}.rope.scaling.yarn_beta_slow", rope["beta_slow"])
    if getattr(config, "final_logit_softcapping", None):
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
