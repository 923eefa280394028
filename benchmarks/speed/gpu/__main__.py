"""The command line: how long, what, and where the results go."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_INTERPRETER = "TRITON_INTERPRET"
_RESULTS = Path(__file__).resolve().parents[2] / "results"


def parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of the command's options; ``names`` are what ``--only`` takes."""
    parsed = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.gpu",
        description="Checks gptapps' kernels on the GPU against plain PyTorch in float64, then times kernels and whole "
        "models beside their peers, next to what the card's own ceilings allow. Let nothing else run meanwhile.",
        epilog="The exit code is 1 where a kernel or a model is wrong; times of a wrong kernel are not reported.",
    )
    parsed.add_argument(
        "--minutes", type=float, default=8.0, help="what doesn't fit is left out (default: %(default)s)"
    )
    parsed.add_argument("--only", nargs="+", choices=names, default=(), metavar="NAME", help=", ".join(names))
    parsed.add_argument(
        "--despite-errors", action="store_true", help="time kernels that failed their checks too, marked as wrong"
    )
    parsed.add_argument(
        "--dry-run", action="store_true", help="run every path on the CPU, at tiny sizes; the numbers mean nothing"
    )
    parsed.add_argument(
        "--output",
        type=Path,
        default=_RESULTS,
        help="the folder that gets gpu-CARD-DATE.* (default: benchmarks/results)",
    )
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if "--dry-run" in words:
        os.environ.setdefault(_INTERPRETER, "1")  # Triton looks when the first kernel is imported
    from benchmarks.speed.gpu.command import run_command
    from benchmarks.speed.gpu.operations import OPERATIONS
    from benchmarks.speed.gpu.run import MODELS

    options = parser((*OPERATIONS, MODELS)).parse_args(words)
    return run_command(
        dry_run=options.dry_run,
        minutes=options.minutes,
        only=options.only,
        despite_errors=options.despite_errors,
        folder=options.output,
    )


if __name__ == "__main__":
    sys.exit(main())
