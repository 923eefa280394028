"""Kills evaluations of a real model at random moments, then lets them end beside ones that nothing interrupted.

    python killing_model.py FOLDER MODEL SEED

MODEL is a directory. Prints a JSON object: task -> the examples of both runs, the killed one's and the whole one's. A
process of its own, because it forks: each child is an evaluation that ``kill -9`` ends.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gptapps import evaluate
from gptapps.decoding.language_model import LanguageModel

ROWS = 20
KILLS = 6
WORDS = ["the", "old", "ferry", "leaves", "harbour", "noon", "with", "letters", "one", "quiet", "passenger", "aboard"]
OPTIONS: dict[str, dict[str, Any]] = {"sentiment": {}, "summarize": {"max_new_tokens": 4, "metrics": ["token_f1"]}}


def main(folder: Path, model_folder: str, seed: int) -> None:
    """Kill and finish an evaluation of each task."""
    torch.set_num_threads(1)  # a child has none of its parent's other threads
    model, moments = LanguageModel.load(model_folder), random.Random(seed)
    found = {task: killed_and_whole(folder / task, task, model, moments) for task in OPTIONS}
    sys.stdout.write(json.dumps(found) + "\n")


def killed_and_whole(folder: Path, task: str, model: LanguageModel, moments: random.Random) -> dict[str, Any]:
    """Return the lines of an evaluation that was killed and of one that wasn't, and where the kills came."""
    folder.mkdir()
    data = write_rows(folder / "rows.jsonl", moments)

    def run(output: str, batch_size: int) -> None:
        evaluate(task, data, model, output=folder / output, batch_size=batch_size, baselines=(), **OPTIONS[task])

    run("whole", 4)
    file = folder / "killed" / "examples.jsonl"
    done: list[int] = []
    while len(done) < KILLS:
        before, batch_size = len(lines_of(file)), moments.randint(1, 7)
        child = os.fork()
        if not child:
            run("killed", batch_size)
            os._exit(0)
        wanted = min(before + moments.randint(0, 5), ROWS)
        while len(lines_of(file)) < wanted and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        killed_in_time = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        size = file.stat().st_size if file.exists() else 0
        if killed_in_time:
            done.append(len(lines_of(file)))
        if size and len(lines_of(file)) == ROWS:
            os.truncate(file, moments.randrange(size // 2))  # else nothing remains for the next child
        elif size and len(done) % 2:
            os.truncate(file, size - moments.randrange(min(size, 200)))  # as if the kill had come inside a write
    run("killed", 4)
    return {"done": done, "killed": lines_of(file), "whole": lines_of(folder / "whole" / "examples.jsonl")}


def write_rows(path: Path, source: random.Random) -> Path:
    """Write rows of different lengths that both tasks can read."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(ROWS):
            text = f"Row {number}: {' '.join(source.choices(WORDS, k=source.randrange(3, 30)))}."
            row = {"text": text, "label": source.choice(["positive", "negative"]), "summaries": [text]}
            file.write(json.dumps(row) + "\n")
    return path


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a run, in the order of the rows."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    return sorted((json.loads(line) for line in lines), key=lambda line: int(line["index"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
