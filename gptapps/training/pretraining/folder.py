"""The folder that pre-training leaves: a model that transformers loads, and what is known of it.

config.json, model.safetensors, tokenizer.json …     the model in the Hugging Face layout
mask_embedding.safetensors                           of masked text: what a hidden token looks like
metrics.json, curves.json and .svg, logs/, samples/  how well it learned, and what it said meanwhile
data.json, training.json, README.md                  what decided its weights; all of it for people
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptapps.backbone.mask_embedding import remove_mask, write_mask
from gptapps.backbone.safetensors_files import write_json
from gptapps.cache_files import new_folder
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.masked_model import MaskedModel
from gptapps.errors import CheckpointError
from gptapps.evaluation.manifest import Manifest
from gptapps.heads.language_model import LanguageModelHead
from gptapps.heads.loading import save_language_model
from gptapps.training.curves import write_curves
from gptapps.training.pretraining.report import PretrainReport, pretrain_card
from gptapps.training.recipe import Learned

METRICS, DATA, TRAINING, CARD, LOGS, SAMPLES = (
    *("metrics.json", "data.json", "training.json", "README.md", "logs", "samples"),
)
_TOLERANCE = 1e-4  # of logits: the same weights, but for threads


def write_pretrained(
    output: Path,
    model: LanguageModel,
    report: PretrainReport,
    learned: Learned,
    data: Mapping[str, Any],
    manifest: Manifest,
    training: Path,
    probe: Sequence[int],
) -> None:
    """Write the folder aside, load it again, and let it appear if it says the same.

    Args:
        output: where it appears.
        model: what was trained; of masked text with the mask in its embedding, which is taken out.
        report, learned: how it went.
        data: what ``data.json`` says.
        manifest: of everything that decides the weights.
        training: folder with the logs and samples.
        probe: ids behind which both have to say the same.

    Raises:
        CheckpointError: the folder says something else.
        ResourceError: the disk is full.
    """
    head, masked = model.head, report.objective == "masked"
    if not isinstance(head, LanguageModelHead):
        raise TypeError("a pre-trained model has a vocabulary head")
    model.backbone.eval()
    with new_folder(output) as folder:
        said = _logits(model, masked, probe)
        if masked:
            write_mask(remove_mask(model.backbone), folder)
        tokenizer = model.tokenizer
        ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": list(tokenizer.eos_ids), "pad_token_id": None}
        save_language_model(model.backbone, head, folder, token_ids=ids)
        tokenizer.save(folder)
        for name in (LOGS, SAMPLES):
            if (training / name).is_dir():
                shutil.copytree(training / name, folder / name)
        write_curves(folder, learned, "perplexity")
        write_json(folder / METRICS, report.as_dict())
        write_json(folder / DATA, data)
        (folder / TRAINING).write_bytes(manifest.as_json())
        (folder / CARD).write_text(pretrain_card(report, data, manifest.content["versions"]), encoding="utf-8")
        again = _logits_again(folder, masked, probe, str(model.backbone.device))
        if not torch.allclose(again, said, atol=_TOLERANCE, rtol=_TOLERANCE):
            raise CheckpointError(
                "The pre-trained model was written and loaded again, and doesn't say the same: nothing was kept, so "
                "train again, and report it if it comes back."
            )


def _logits_again(folder: Path, masked: bool, probe: Sequence[int], device: str) -> Tensor:
    if masked:
        return MaskedModel.load(folder, device=device).logits(probe).cpu()
    return _logits(LanguageModel.load(str(folder), device=device, dtype="float32"), masked, probe)


@torch.no_grad()
def _logits(model: LanguageModel, masked: bool, probe: Sequence[int]) -> Tensor:
    if masked and isinstance(model.head, LanguageModelHead):
        return MaskedModel(model.backbone, model.head, model.tokenizer).logits(probe).cpu()
    logits: Tensor = model.head(model.backbone(torch.tensor([list(probe)], device=model.backbone.device)))[0]
    return logits.cpu()
