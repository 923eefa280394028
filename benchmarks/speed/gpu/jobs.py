"""Checks, and what fills the compilers' caches, in many processes at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.speed.gpu.checking import checks
from benchmarks.speed.gpu.deadline import Deadline
from benchmarks.speed.gpu.measured import Checked
from benchmarks.speed.gpu.work import Operation
from benchmarks.speed.measuring import ROOT, say
from gptapps.kernels.dispatch import VARIABLE

_SECONDS_PER_JOB = 40.0
_LEAST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A worker's arguments, and how many lines it prints if it gets to its end."""

    words: tuple[str, ...]
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a worker.

    Attributes:
        job: what it was to do.
        lines: what it printed.
        problem: what it died of; None if it lived.
        is_late: whether the time was up before its end.
    """

    job: Job
    lines: tuple[str, ...]
    problem: str | None = None
    is_late: bool = False


def check_jobs(operations: Sequence[Operation], *, dry_run: bool) -> list[Job]:
    """Return the jobs that check operations, a few settings each."""
    jobs = []
    for operation in operations:
        count, at_once = len(checks(operation, dry_run=dry_run)), max(1, int(_SECONDS_PER_JOB / operation.seconds))
        for start in range(0, count, at_once):
            stop = min(start + at_once, count)
            jobs.append(Job(("check", operation.name, str(start), str(stop)), stop - start))
    return jobs


def run_jobs(jobs: Sequence[Job], deadline: Deadline, *, dry_run: bool) -> Iterator[Done]:
    """Yield the jobs in their order, as many at once as there are processors for."""
    at_once = max(1, min(14, (os.cpu_count() or 1) - 2))
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(lambda job: _run(job, deadline, dry_run), jobs)


def checked(done: Done, operations: Sequence[Operation], deadline: Deadline, *, dry_run: bool) -> list[Checked]:
    """Return what a checking job found.

    What it didn't get to counts as wrong where it died, and is left out where the time was up.
    """
    _, name, start, stop = done.job.words
    found = [Checked(**json.loads(line)) for line in done.lines]
    operation = next(operation for operation in operations if operation.name == name)
    missed = checks(operation, dry_run=dry_run)[int(start) + len(found) : int(stop)]
    if done.is_late:
        deadline.left_out += [f"check of {name}, {setting.name}, {dtype}" for setting, dtype in missed]
        return found
    problem = f"not checked: {done.problem or 'its process printed too little'}"
    return [
        *found,
        *(
            Checked(name, setting.name, str(dtype).removeprefix("torch."), None, 0.0, problem)
            for setting, dtype in missed
        ),
    ]


def _run(job: Job, deadline: Deadline, dry_run: bool) -> Done:
    what = " ".join(job.words)
    if not deadline.allows(f"the job {what!r}", _LEAST_SECONDS):
        return Done(job, (), is_late=True)
    command = [sys.executable, "-m", "benchmarks.speed.gpu.worker", *(["--dry-run"] if dry_run else []), *job.words]
    environment = {**os.environ, VARIABLE: "triton", "TORCHINDUCTOR_COMPILE_THREADS": "4"}
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=deadline.left, check=False
        )
    except subprocess.TimeoutExpired as failure:
        printed = failure.stdout or b""
        text = printed.decode("utf-8", "replace") if isinstance(printed, bytes) else printed
        deadline.left_out.append(f"the end of the job {what!r}")
        return Done(job, _whole_lines(text), is_late=True)
    last = ended.stderr.strip().splitlines()[-1:]
    problem = None if ended.returncode == 0 else f"exit code {ended.returncode}: {''.join(last)}"[:200]
    if problem:
        say(f"{what}: {problem}")
    return Done(job, _whole_lines(ended.stdout), problem)


def _whole_lines(text: str) -> tuple[str, ...]:
    complete, _, _ = text.rpartition("\n")
    return tuple(line for line in complete.splitlines() if line.startswith("{"))
