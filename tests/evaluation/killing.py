"""Kills an evaluation twenty times, tears its file as well, then lets it end beside one that nothing interrupted.

    python killing.py FOLDER SEED

Prints a JSON line for each of the two, the killed one first: its report and its examples. A process of its own,
because it forks: each child is an evaluation that ``kill -9`` ends at a random moment.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from scripted import ScriptedPipeline, scripted_model, write_definition, write_rows

from gptapps import evaluate
from gptapps.registry import PIPELINES

ROWS = 80
KILLS = 20
SECONDS = 0.004  # an example takes


def main(folder: Path, seed: int) -> None:
    """Kill, tear, finish, compare."""
    PIPELINES.register("scripted", ScriptedPipeline)
    task, data, model = write_definition(folder), write_rows(folder, ROWS), scripted_model()
    moments = random.Random(seed)

    def run(output: str, batch_size: int) -> dict[str, object]:
        path = folder / output
        report = evaluate(task, data, model=model, output=path, batch_size=batch_size)
        lines = (path / "examples.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        examples = sorted((json.loads(line) for line in lines), key=lambda line: line["index"])
        return {
            "report": report.as_dict(),
            "written": json.loads((path / "report.json").read_text()),
            "lines": examples,
        }

    whole = run("whole", batch_size=8)
    ScriptedPipeline.seconds = SECONDS
    started = time.monotonic()
    run("timed", batch_size=8)
    longest = (time.monotonic() - started) / 4
    interrupted = torn = 0
    while interrupted < KILLS:
        child = os.fork()
        if not child:
            run("killed", batch_size=moments.randint(1, 9))
            os._exit(0)
        time.sleep(moments.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        killed_in_time = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        interrupted += killed_in_time
        file = folder / "killed" / "examples.jsonl"
        size = file.stat().st_size if file.exists() else 0
        if size and (interrupted % 2 or not killed_in_time):
            kept = max(0, size - 400) if killed_in_time else 0
            os.truncate(file, moments.randint(kept, size))  # as if the kill had come inside a write
            torn += 1
    killed = {**run("killed", batch_size=8), "interrupted": interrupted, "torn": torn}
    sys.stdout.write(f"{json.dumps(killed)}\n{json.dumps(whole)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
