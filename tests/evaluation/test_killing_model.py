"""``kill -9`` at any moment while a real model works: the run goes on, in batches of other sizes, and ends the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_language_model import write_tiny_model

from gptapps.decoding.language_model import LanguageModel

SCRIPT = Path(__file__).with_name("killing_model.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> dict[str, Any]:
    """What the script printed."""
    model = write_tiny_model(tmp_path_factory.mktemp("model"), default_model.tokenizer)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("runs")), str(model), "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the script forks")
@pytest.mark.parametrize("task", ["sentiment", "summarize"])
def test_kills_change_nothing_that_a_real_model_says(task: str, finished: dict[str, Any]) -> None:
    killed, whole = finished[task]["killed"], finished[task]["whole"]
    assert len(finished[task]["done"]) == 6
    assert any(0 < done < len(whole) for done in finished[task]["done"])
    assert [line["index"] for line in killed] == list(range(20))
    for one, other in zip(killed, whole, strict=True):
        for name in ("score", "scores") if task == "sentiment" else ():
            assert one["prediction"].pop(name) == pytest.approx(other["prediction"].pop(name), rel=1e-4)
        assert one.pop("scores") == pytest.approx(other.pop("scores"), rel=1e-4)
        assert one == other
