"""Two processes that torchrun starts, and that share the work of each update, learn what one does."""

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

from gptapps.decoding.language_model import LanguageModel
from gptapps.training.finetune import finetune

OPTIONS = {
    "epochs": 2,
    "examples_per_update": 5,
    "tokens_at_once": 64,
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "rank": 4,
}


def test_two_processes_learn_what_one_does(tiny_base: LanguageModel, tmp_path: Path) -> None:
    rows = [{"text": f"{number} {'sun' if number % 2 else 'snow'}", "label": "wc"[number % 2]} for number in range(16)]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    spelled = [part for name, value in OPTIONS.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "gptapps", "finetune", "classify", data, "--output", tmp_path / "two", "--method", "lora"),
            *("--model", tiny_base.name, "--device", "cpu", "--validation", "0.25", "--json", *spelled),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"] == str(tmp_path / "two")  # one of the two tells
    finetune("classify", data, output=tmp_path / "one", method="lora", model=tiny_base.name, validation=0.25, **OPTIONS)
    one, two = (json.loads((tmp_path / name / "curves.json").read_text()) for name in ("one", "two"))
    for curve in ("loss", "gradient_norm"):
        expected = [row[curve] for row in one["updates"]]
        assert [row[curve] for row in two["updates"]] == pytest.approx(expected, rel=1e-3)
    weights = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-4, rtol=1e-3)
    assert not (tmp_path / "two.work").exists()
