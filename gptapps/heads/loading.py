"""A language model from disk and back: backbone and vocabulary projection together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from gptapps.backbone.checkpoint import MAX_SHARD_BYTES, read_checkpoint, write_checkpoint
from gptapps.backbone.compact import CompactMatrix, install_compact, is_compact
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.weights import HEAD, WEIGHT, Weights, build_backbone
from gptapps.backbone.weights_cache import cached_weights
from gptapps.errors import CheckpointError, ModelNotFoundError, OptionError
from gptapps.heads.language_model import LanguageModelHead


def load_language_model(
    path: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    derived: Path | None = None,
    low_memory: bool = False,
) -> tuple[GPTBackbone, LanguageModelHead]:
    """Build a backbone and its vocabulary projection from files.

    Args:
        path: a directory in the Hugging Face layout, or a GGUF file.
        dtype: of the weights in memory.
        device: where to put them.
        derived: for a GGUF file, a directory that keeps its dequantized tensors; loading is instant from the
            second time on. Without it they are dequantized each time.
        low_memory: keep matrices in the bits that the files have them in, and widen each when it's used.

    Returns:
        Both in evaluation mode. On the CPU in float32 they share mapped memory with the files where they can.

    Raises:
        ModelNotFoundError: nothing lies at ``path``.
        CheckpointError: a file is absent or damaged, a tensor missing, surplus or misshapen, or weights pickled.
        UnsupportedModelError: a family, an option or a tensor type that gptapps doesn't implement.
        OptionError: the files have no matrix in fewer bits than ``dtype``, or a type that has to be widened at once.
        ResourceError: the disk is full.

    Example:
        >>> backbone, head = load_language_model(Path("gpt2"))              # doctest: +SKIP
        >>> head(backbone(torch.tensor([[464, 3290]]))).shape               # doctest: +SKIP
        torch.Size([1, 2, 50257])
    """
    weights = _read_compact(path, dtype) if low_memory else _read(path, derived)
    weights = Weights(
        weights.config,
        {name: tensor.to(device, dtype) for name, tensor in weights.tensors.items()},
        {name: matrix.to(device) for name, matrix in weights.matrices.items()},
    )
    backbone = build_backbone(weights)
    with torch.device("meta"):
        head = LanguageModelHead(backbone)
    if not weights.config.tied_vocabulary:
        if projection := weights.matrices.get(f"{HEAD}projection{WEIGHT}"):
            install_compact(head, "projection", projection, dtype)
        head.load_state_dict(weights.head, assign=True)
    return backbone.eval(), head.eval()


def layers_anew(
    backbone: GPTBackbone, head: LanguageModelHead, *, own_memory: bool = False
) -> tuple[GPTBackbone, LanguageModelHead]:
    """Return the same model made of new layers, so that changing them leaves the first as it is.

    Args:
        backbone, head: the first; its layers are plain ones.
        own_memory: copy the weights, in float32; otherwise they share the first one's memory.

    Raises:
        OptionError: the first one's matrices are kept as their files have them.
    """
    if is_compact(backbone):
        raise OptionError("A model loaded with low_memory can't be changed by an adapter or by training: leave it out.")

    def tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {
            name: tensor.to(torch.float32, copy=True) if own_memory else tensor
            for name, tensor in module.state_dict().items()
        }

    anew = build_backbone(Weights(backbone.config, tensors(backbone)))
    with torch.device("meta"):
        projection = LanguageModelHead(anew)
    if not backbone.config.tied_vocabulary:
        projection.load_state_dict(tensors(head), assign=True)
    return anew.eval(), projection.eval()


def save_language_model(
    backbone: GPTBackbone,
    head: LanguageModelHead,
    directory: Path,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    token_ids: Mapping[str, int | list[int] | None] | None = None,
) -> None:
    """Write a model in the Hugging Face layout; transformers' AutoModelForCausalLM reads it.

    Args:
        backbone, head: what to write.
        directory: created where it is absent.
        max_shard_bytes: the most one safetensors file may hold.
        token_ids: ``bos_token_id``, ``eos_token_id`` and ``pad_token_id`` for config.json.

    Raises:
        ResourceError: the disk is full.
    """
    tensors = dict(backbone.state_dict())
    if not backbone.config.tied_vocabulary:
        tensors |= {f"{HEAD}{name}": tensor for name, tensor in head.state_dict().items()}
    write_checkpoint(Weights(backbone.config, tensors), directory, max_shard_bytes=max_shard_bytes, token_ids=token_ids)


def _read(path: Path, derived: Path | None) -> Weights:
    if _is_directory(path):
        return read_checkpoint(path)
    return cached_weights(derived, lambda: _read_gguf(path)) if derived else _read_gguf(path)


def _read_compact(path: Path, dtype: torch.dtype) -> Weights:
    weights = read_checkpoint(path) if _is_directory(path) else _read_gguf(path, compact=True)
    tensors, matrices = dict(weights.tensors), dict(weights.matrices)
    matrices |= {name: CompactMatrix(tensor) for name, tensor in tensors.items() if tensor.dim() == 2}
    narrow = {name: matrix for name, matrix in matrices.items() if matrix.values.element_size() < dtype.itemsize}
    if not narrow:
        raise OptionError(
            f"{path} holds every matrix in as many bits as it is computed with, so low_memory has nothing to save: "
            "leave it out."
        )
    wide = {name: matrix.values for name, matrix in matrices.items() if name not in narrow}
    return Weights(
        weights.config, {name: tensor for name, tensor in tensors.items() if name not in narrow} | wide, narrow
    )


def _is_directory(path: Path) -> bool:
    """Return whether it is a directory; if not it is a GGUF file."""
    if path.is_dir():
        return True
    if path.suffix == ".gguf" and path.is_file():
        return False
    if path.exists():
        raise CheckpointError(f"{path} is neither a model directory nor a GGUF file.")
    raise ModelNotFoundError(f"There is no model at {path}.")


def _read_gguf(path: Path, *, compact: bool = False) -> Weights:
    from gptapps.backbone import gguf_checkpoint  # the gguf package isn't needed once weights are kept

    return (gguf_checkpoint.read_compact_gguf if compact else gguf_checkpoint.read_gguf)(path)
