"""One job in a process of its own: ``python -m benchmarks.speed.gpu.worker JOB``, results as JSON lines.

A kernel that brings its process down takes no other with it, and many processes compile at once what the run needs: the
caches of Triton and of ``torch.compile`` lie on the disk.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import torch

from benchmarks.speed.gpu.card import Card, Draw
from benchmarks.speed.gpu.checking import check, checks, outcomes, reason
from benchmarks.speed.gpu.layouts import LAYOUTS
from benchmarks.speed.gpu.models import NEW_TOKENS, compiled, training_step
from benchmarks.speed.gpu.operations import OPERATIONS
from benchmarks.speed.gpu.peers import plain
from benchmarks.speed.gpu.sides import build_theirs
from benchmarks.speed.measuring import say


def check_some(card: Card, name: str, start: int, stop: int) -> None:
    """Check some of an operation's settings, and print what was found."""
    operation = OPERATIONS[name]
    for setting, dtype in checks(operation, dry_run=card.is_dry)[start:stop]:
        print(json.dumps(asdict(check(card, name, setting, dtype))), flush=True)


def warm(card: Card, name: str) -> None:
    """Let every side of an operation's cases do its work once; who can't says so when it is to be timed."""
    for case in OPERATIONS[name].cases(card.is_dry):
        inputs = case.setting.make(Draw(card, card.dtype, seed=2))
        for make in (plain(case.setting.ours), *case.peers.values()):
            try:
                function = make(inputs)
                outcomes(function, inputs, case.setting.learned)
                outcomes(function, inputs, ())  # as it is timed, where only the forward pass is
            except Exception as failure:
                say(f"{name}, {case.setting.name}: {reason(failure)}")
        card.release()


def compile_model(card: Card, name: str) -> None:
    """Compile transformers' model as the run will."""
    layout = next(layout for layout in LAYOUTS if layout.name == name)
    draw = Draw(card, card.dtype)
    theirs = build_theirs(card, layout, layout.layers)
    with torch.inference_mode():
        for batch, tokens in layout.decoded:
            theirs.generate(draw.integers(layout.vocabulary, batch, tokens), NEW_TOKENS, is_static=True)
        quick = compiled(card, theirs)
        for batch, tokens in layout.prefills:
            quick.prefill(draw.integers(layout.vocabulary, batch, tokens))
    if layout.trained is not None:
        theirs = build_theirs(card, layout, layout.trained_layers or layout.layers)
        optimizer = torch.optim.SGD(theirs.parameters, lr=0.0)
        training_step(compiled(card, theirs), optimizer, draw.integers(layout.vocabulary, *layout.trained))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the job that the arguments name; ``--dry-run`` in front does it on the CPU."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    dry_run = words[:1] == ["--dry-run"]
    kind, name, *rest = words[dry_run:]
    card = Card(dry_run=dry_run)
    match kind:
        case "check":
            check_some(card, name, *map(int, rest))
        case "warm":
            warm(card, name)
        case "compile":
            compile_model(card, name)
        case _:
            say(f"There is no job {kind!r}.")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
