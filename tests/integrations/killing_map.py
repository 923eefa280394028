"""Kills a bulk prediction twelve times at random moments, then lets it end.

    python killing_map.py FOLDER SEED

Prints how often it was killed in time. A process of its own, because it forks.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from stub_task import StubTask, stub_identity, stub_pipeline

from gptapps.integrations import bulk, bulk_worker

KILLS = 12
FILES, ROWS, PART_ROWS = 3, 40, 4
SECONDS = 0.003  # a row takes


def main(folder: Path, seed: int) -> None:
    """Kill and finish."""
    bulk_worker.pipeline, bulk_worker.model_identity = stub_pipeline, stub_identity
    StubTask.seconds = SECONDS
    for file in range(FILES):
        lines = (f'{{"text": "row {file} {row}"}}\n' for row in range(ROWS))
        (folder / f"{file}.jsonl").write_text("".join(lines), encoding="utf-8")
    plan = bulk.BulkPlan(
        task="stub", inputs=[str(folder / "*.jsonl")], output=folder / "out", part_rows=PART_ROWS, options={}
    )
    moments = random.Random(seed)
    killed = 0
    for _ in range(KILLS):
        child = os.fork()
        if not child:
            run(plan)
            os._exit(0)
        time.sleep(moments.uniform(0, SECONDS * ROWS))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    run(plan)
    sys.stdout.write(f"{killed}\n")


def run(plan: bulk.BulkPlan) -> None:
    """Do what isn't done."""
    with bulk.BulkFolder(plan) as output:
        for part in bulk_worker.run_here(plan, output.remaining()):
            output.finish(part)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
