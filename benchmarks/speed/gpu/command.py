"""From the options to the files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from benchmarks.speed.gpu.card import Card
from benchmarks.speed.gpu.deadline import Deadline
from benchmarks.speed.gpu.plot import draw
from benchmarks.speed.gpu.report import described, environment, file_stem, markdown
from benchmarks.speed.gpu.run import Found, run
from benchmarks.speed.measuring import BenchmarkError, say, write

_WRITING_SECONDS = 10.0


def run_command(*, dry_run: bool, minutes: float, only: Collection[str], despite_errors: bool, folder: Path) -> int:
    """Run and write the results; return the exit code.

    Args:
        dry_run: on the CPU, at tiny sizes.
        minutes: how long it may take.
        only: what is run; empty for everything.
        despite_errors: time kernels that failed their checks, too.
        folder: gets gpu-CARD-DATE.json, .md, .svg and .png.

    Returns:
        0 where everything that was looked at is right, 1 where something is wrong or nothing could be run.
    """
    deadline = Deadline(60 * minutes - _WRITING_SECONDS)
    try:
        card = Card(dry_run=dry_run)
    except BenchmarkError as failure:
        say(str(failure))
        return 1
    where, stem = environment(card), file_stem(card, folder)

    def written(found: Found) -> None:
        write(described(found, where), stem.with_name(f"{stem.name}.json"))
        stem.with_name(f"{stem.name}.md").write_text(markdown(found, where), encoding="utf-8")

    found = run(card, deadline, only, written, despite_errors=despite_errors)
    written(found)
    draw(found.measured, found.ceilings, f"gptapps and its peers on {card.name}", stem)
    print(markdown(found, where))
    say(f"written to {stem.name}.json, .md, .svg and .png")
    for one in (*map(str, found.wrong), *found.withheld):
        say(f"WRONG: {one}")
    return 0 if found.is_right else 1
