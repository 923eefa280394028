"""Kills a training twenty times, inside saves too, then lets it end beside one that nothing interrupted.

    python killing_finetune.py FOLDER MODEL SEED METHOD

Prints a JSON line: how often it was killed and when, and both folders' checksums. A process of its own, because it
forks: each child is a training that ``kill -9`` ends at a random moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from toy_labels import write_toy_rows

from gptapps import finetune
from gptapps.decoding.language_model import LanguageModel
from gptapps.trained_model import read_trained_model

KILLS = 20
SYNC_SECONDS = 0.005  # that a disk takes, so that kills meet it
OPTIONS: dict[str, dict[str, Any]] = {
    "head": {"layers": [1, 2], "penalties": [0.1, 1.0], "selection_folds": 2, "folds": 2},
    "lora": {"epochs": 2, "examples_per_update": 8, "rank": 2, "checkpoint_every": 1},
}


def main(folder: Path, model_folder: str, seed: int, method: str) -> None:
    """Kill, finish, compare."""
    rows, model, moments = (
        write_toy_rows(folder / "rows.jsonl", 24),
        LanguageModel.load(model_folder),
        random.Random(seed),
    )
    sync = os.fsync

    def slow(file: int) -> None:
        time.sleep(SYNC_SECONDS)
        sync(file)

    os.fsync = slow

    def train(output: Path) -> None:
        finetune("classify", rows, model=model, output=output, method=method, **OPTIONS[method])

    train(folder / "whole")  # what is loaded once is loaded
    started = time.monotonic()
    train(folder / "timed")
    longest = time.monotonic() - started
    kills, killed, wholes, saving = 0, folder / "killed", 0, 0
    while kills < KILLS:
        child = os.fork()
        if not child:
            train(killed)
            os._exit(0)
        wait(moments, longest, folder / ".killed.unfinished" if kills % 2 else None)
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        saving += (folder / ".killed.unfinished").exists()
        if killed.exists():
            read_trained_model(killed)  # complete
            wholes += 1
            shutil.rmtree(killed)
            shutil.rmtree(folder / "killed.work", ignore_errors=True)
    train(killed)
    counts = {"kills": kills, "complete": wholes, "saving": saving}
    sums = {name: checksums(folder / name) for name in ("killed", "whole")}
    left = sorted(path.name for path in folder.iterdir() if "unfinished" in path.name or ".work" in path.name)
    sys.stdout.write(json.dumps({**counts, **sums, "left": left}) + "\n")


def wait(moments: random.Random, longest: float, saving: Path | None) -> None:
    """Wait for a random time, from the start or from when a folder is being filled."""
    end = time.monotonic() + 2 * longest
    while saving is not None and not saving.exists() and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(moments.uniform(0, longest if saving is None else 10 * SYNC_SECONDS))


def checksums(folder: Path) -> dict[str, str]:
    """Return the checksums of what decides predictions."""
    names = ("task.toml", "data.json", *(path.name for path in folder.glob("*.safetensors")))
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
