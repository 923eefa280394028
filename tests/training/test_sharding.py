"""Weights that are spread over two processes learn what one process learns; what is kept of them is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from data_files import write_rows
from safetensors.torch import load_file
from sharded_training import FINETUNE, SHARED, TRAININGS
from small_texts import write_text
from transformers import AutoModelForCausalLM

from gptapps import pretrain
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError
from gptapps.training.finetune import finetune


def curves_agree(first: Path, second: Path) -> None:
    """Assert that two trainings had the same losses and gradients."""
    one, two = (json.loads((folder / "curves.json").read_text(encoding="utf-8")) for folder in (first, second))
    for curve in ("loss", "gradient_norm", "targets"):
        expected = [row[curve] for row in two["updates"]]
        assert [row[curve] for row in one["updates"]] == pytest.approx(expected, rel=1e-3)


@pytest.mark.usefixtures("light")
def test_two_processes_that_share_the_weights(tiny_base: LanguageModel, tmp_path: Path) -> None:
    here = Path(__file__).parent
    text = write_text(tmp_path / "text.txt")
    words = [("snow", "sun")[number % 2] for number in range(12)]
    rows = [
        {"text": f"{n} {word}", "label": word, "question": "What?", "context": f"{n} {word}", "answers": [word]}
        for n, word in enumerate(words)
    ]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    path = os.pathsep.join(map(str, (here, here.parent, here.parent.parent)))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(here / "sharded_training.py", text, data, tiny_base.name, tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    learned, spread = map(int, done.stdout.split())
    assert learned == spread > 0

    pretrain(text, output=tmp_path / "alone", **SHARED)
    curves_agree(tmp_path / "gpt", tmp_path / "alone")
    weights = {name: load_file(tmp_path / name / "model.safetensors") for name in ("gpt", "resumed", "alone")}
    for name, tensor in weights["alone"].items():
        torch.testing.assert_close(weights["gpt"][name], tensor, atol=1e-3, rtol=1e-2)
        assert torch.equal(weights["resumed"][name], weights["gpt"][name])
    AutoModelForCausalLM.from_pretrained(tmp_path / "gpt")
    pretrain(text, output=tmp_path / "masked", objective="masked", **SHARED)
    curves_agree(tmp_path / "copied", tmp_path / "masked")
    for name, (task, more) in TRAININGS.items():
        finetune(task, data, output=tmp_path / f"{name}-alone", model=tiny_base.name, **FINETUNE, **more)
        curves_agree(tmp_path / name, tmp_path / f"{name}-alone")


def test_one_process_has_nobody_to_share_with(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="spreads the weights over several processes, and this is one"):
        pretrain(write_text(tmp_path / "text.txt"), output=tmp_path / "gpt", shard=True, **SHARED)
    with pytest.raises(OptionError, match="and this is one"):
        finetune("sentiment", "rows.csv", output=tmp_path / "lora", method="lora", shard=True)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
