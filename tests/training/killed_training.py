"""Kills a training at twenty moments, saves among them, and lets each end beside one that nothing interrupted.

    python killed_training.py FOLDER SEED

A process of its own, because it forks: each child is a training that ``kill -9`` ends at the n-th time it opens, makes,
links, renames or removes a file, or ends an update. Prints how many were killed, and how many came to other weights.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from pathlib import Path

import torch
from toy_training import table_of, toy_trainer

KILLS, KILLS_A_RUN = 20, 4
_FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "shutil.rmtree", "update")


def main(folder: Path, seed: int) -> None:
    """Kill, go on, compare."""
    torch.set_num_threads(1)
    draw = random.Random(seed)
    toy_trainer(folder / "first").run()  # what is imported late is imported here once, and not in every child
    moments = run(folder / "whole", None)
    expected = (folder / "whole" / "learned").read_bytes()
    killed = different = 0
    while killed < KILLS:
        place = folder / f"run-{killed}"
        killed += sum(run(place, draw.randint(1, moments // 2)) is None for _ in range(KILLS_A_RUN))
        run(place, None)
        different += (place / "learned").read_bytes() != expected
        shutil.rmtree(place)
    sys.stdout.write(f"{killed} {different}\n")


def run(folder: Path, last: int | None) -> int | None:
    """Train in a child that is killed at event ``last``; return how many there were, None where it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        events = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal events
            if event in _FILE_EVENTS and (event == "update" or str(folder) in str(arguments[0])):
                events += 1
                if events == last:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        trainer = toy_trainer(folder, lambda what, done, total: sys.audit("update"), checkpoint_every=1)
        trainer.run()
        (folder / "learned").write_bytes(table_of(trainer).numpy().tobytes())
        os.write(writing, str(events).encode())
        os._exit(0)
    os.close(writing)
    status = os.waitpid(child, 0)[1]
    said = os.read(reading, 100)
    os.close(reading)
    if not os.WIFSIGNALED(status) and status:
        raise SystemExit(f"a training failed with status {status}")
    return None if os.WIFSIGNALED(status) else int(said)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
