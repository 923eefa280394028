"""A run: ceilings, checks, kernels, models, one after the other until the time is up."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from benchmarks.speed.gpu.card import Card
from benchmarks.speed.gpu.checking import check, checks, reason
from benchmarks.speed.gpu.deadline import Deadline
from benchmarks.speed.gpu.jobs import Job, check_jobs, checked, run_jobs
from benchmarks.speed.gpu.layouts import DRY_LAYOUTS, LAYOUTS, Layout
from benchmarks.speed.gpu.measured import Checked, Measured
from benchmarks.speed.gpu.models import Timer
from benchmarks.speed.gpu.operations import OPERATIONS
from benchmarks.speed.gpu.roofline import Ceilings
from benchmarks.speed.gpu.timing import WrongKernelError, time_case
from benchmarks.speed.gpu.work import Case, Operation
from benchmarks.speed.measuring import BenchmarkError, say
from gptapps.kernels.dispatch import VARIABLE

MODELS = "models"
_CHECKING_SHARE, _KERNELS_SHARE = 0.35, 0.5  # of what is left when the part begins
_SECONDS_PER_CASE = 2.0


@dataclass(slots=True)
class Found:
    """What a run has found out so far.

    Attributes:
        ceilings: of the card.
        checked: operations beside plain PyTorch.
        measured: what was timed.
        withheld: what was not timed, or whose times don't count, because it is wrong.
        left_out: what didn't fit into the time.
    """

    ceilings: Ceilings
    checked: list[Checked] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[Checked]:
        """Every check that failed."""
        return [one for one in self.checked if one.problem]

    @property
    def is_right(self) -> bool:
        """Whether nothing that was looked at is wrong."""
        return not self.wrong and not self.withheld


def run(
    card: Card,
    deadline: Deadline,
    only: Collection[str],
    written: Callable[[Found], None],
    *,
    despite_errors: bool = False,
) -> Found:
    """Do everything, or what ``only`` names: operations and ``models``.

    Args:
        card: where.
        deadline: what doesn't fit is left out.
        only: names; empty for all.
        written: called whenever there is more, so that a run that is cut short leaves what it had.
        despite_errors: time operations that failed their checks, too, marked as wrong; targets don't look at them.
    """
    operations = [operation for name, operation in OPERATIONS.items() if not only or name in only]
    with_models = not only or MODELS in only
    found = Found(card.ceilings(), left_out=deadline.left_out)
    copy, matmul = found.ceilings.copy / 1e12, found.ceilings.matmul / 1e12
    say(f"{card.name}: copies {copy:.2f} TB/s, multiplies {matmul:.0f} TFLOP/s")
    with _on_triton(card):
        prepared = _check(card, operations, found, deadline.part(deadline.left * _CHECKING_SHARE), with_models)
        written(found)
        part = deadline.part(deadline.left * (_KERNELS_SHARE if with_models else 1.0))
        for operation, case in _in_turn(card, operations):
            _time(card, operation, case, found, part, despite_errors)
        written(found)
        layouts = (DRY_LAYOUTS if card.is_dry else LAYOUTS) if with_models else ()
        for place, layout in enumerate(layouts):
            rest = len(layouts) - place
            part = deadline.part(deadline.left / rest * min(rest, 1.5))
            _time_model(card, layout, found, part, is_prepared=layout.name in prepared)
            written(found)
    return found


def _check(card: Card, operations: list[Operation], found: Found, deadline: Deadline, with_models: bool) -> set[str]:
    """Check operations, fill the compilers' caches, and return the layouts that are compiled."""
    prepared = set()
    if card.is_dry:
        for operation in operations:
            for setting, dtype in checks(operation, dry_run=True):
                found.checked.append(check(card, operation.name, setting, dtype))
    else:
        jobs = check_jobs(operations, dry_run=False)
        jobs += [Job(("warm", operation.name)) for operation in operations]
        jobs += [Job(("compile", layout.name)) for layout in LAYOUTS if with_models]
        say(f"checking {sum(job.lines for job in jobs)} settings, and compiling what will be timed")
        for done in run_jobs(jobs, deadline, dry_run=False):
            if done.job.words[0] == "check":
                found.checked += checked(done, operations, deadline, dry_run=False)
            elif done.problem is None and not done.is_late:
                prepared.add(done.job.words[1])
    for one in found.wrong:
        say(f"WRONG: {one}")
    say(f"checked {len(found.checked)} settings, {len(found.wrong)} of them wrong")
    return prepared


def _in_turn(card: Card, operations: list[Operation]) -> Iterator[tuple[Operation, Case]]:
    """Yield the first case of every operation, then the second of every one, for the first tell the most."""
    queues = [(operation, operation.cases(card.is_dry)) for operation in operations]
    for place in range(max((len(cases) for _, cases in queues), default=0)):
        yield from ((operation, cases[place]) for operation, cases in queues if place < len(cases))


def _time(card: Card, operation: Operation, case: Case, found: Found, deadline: Deadline, despite_errors: bool) -> None:
    what = f"{operation.name}, {case.setting.name}"
    of_operation = [one for one in found.checked if one.operation == operation.name]
    is_wrong = not of_operation or any(one.problem for one in of_operation)
    if is_wrong and not despite_errors:
        found.withheld.append(
            f"{what}: the operation {'failed its checks' if of_operation else 'was not checked in time'}"
        )
        return
    if not deadline.allows(what, _SECONDS_PER_CASE * len(case.costs)):
        return
    try:
        timed = time_case(card, operation.name, case, deadline)
    except WrongKernelError as failure:
        found.withheld.append(f"{what}: {failure}")
        say(f"WRONG: {found.withheld[-1]}")
    except Exception as failure:  # as with the layouts
        found.withheld.append(f"{what}: {reason(failure)}")
        say(found.withheld[-1])
    else:
        if is_wrong:
            timed = [replace(one, size=f"{one.size} (WRONG)", counts=False) for one in timed]
        found.measured += timed
        for one in timed:
            _tell(one)
    card.release()


def _time_model(card: Card, layout: Layout, found: Found, deadline: Deadline, *, is_prepared: bool) -> None:
    say(f"model: {layout.name}")
    try:
        for one in Timer(card, layout, deadline, is_prepared=is_prepared).measured():
            found.measured.append(one)
            _tell(one)
    except BenchmarkError as failure:
        found.withheld.append(str(failure))
        say(str(failure))
    except Exception as failure:  # too little memory for one layout is no reason to lose the next
        found.withheld.append(f"{layout.name}: {reason(failure)}")
        say(found.withheld[-1])
    card.release()


def _tell(one: Measured) -> None:
    peers = ", ".join(f"{peer.side} {peer.median * 1e3:.4g}" for peer in one.peers)
    say(f"{one.subject}, {one.size}: {one.best.median * 1e3:.4g} ms; {peers or 'no peer'}")


@contextmanager
def _on_triton(card: Card) -> Iterator[None]:
    """Let every operation and model run on Triton or raise, so that no reference is timed in a kernel's place."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "triton"
    try:
        with warnings.catch_warnings():
            if card.is_dry:  # the interpreter computes with numpy, which warns of infinities
                warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
