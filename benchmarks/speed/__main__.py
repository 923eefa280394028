"""The command line: which benchmarks, how often, and where the result goes."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from benchmarks.speed import decoding, fine_tuning, harness, import_time, startup
from benchmarks.speed.measuring import ROOT, BenchmarkError, Comparison, environment, report, say, table, write
from benchmarks.speed.settings import Settings
from gptapps.errors import GPTAppsError
from gptapps.model_store import DEFAULT_MODEL

BENCHMARKS: dict[str, Callable[[Settings], list[Comparison]]] = {
    "startup": startup.run,
    "import": import_time.run,
    "decoding": decoding.run,
    "arc": harness.arc,
    "sst2": harness.sst2,
    "lora": fine_tuning.lora,
}
_ON_REQUEST = ("arc", "sst2", "lora")
_IDLE_LOAD = 0.5


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parsed = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Measures gptapps beside transformers, in one run and in turns (A B A B …), with the same number "
        "of threads, the same weights and the same token ids on both sides. Let nothing else run meanwhile. Medians "
        "and ratios go to standard output as a table, every sample to a JSON file.",
        epilog="startup: from starting a process to 20 tokens after 150 words. import: what `import gptapps` costs. "
        "decoding: greedy tokens a second, batch 1 and batch 8. arc and sst2: questions with given answers, beside "
        "lm-evaluation-harness; lora: learning from summaries, beside peft. These need --data-root and minutes, and "
        "run only if named. A ratio is gptapps' median divided by the peer's: for "
        "seconds less is better, for tokens a second more.",
    )
    parsed.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME", help=f"one or more of {_names()}")
    parsed.add_argument(
        "--rounds", type=_positive, default=5, help="how often each side is measured (default: %(default)s)"
    )
    parsed.add_argument(
        "--warmups", type=int, default=1, help="rounds before those, which don't count (default: %(default)s)"
    )
    parsed.add_argument("--threads", type=_positive, default=2, help="on both sides (default: %(default)s)")
    parsed.add_argument(
        "--model", default=DEFAULT_MODEL, help="a packaged model, a directory or a GGUF file (default: %(default)s)"
    )
    parsed.add_argument("--data-root", type=Path, help="the folder of data sets, for arc, sst2 and lora")
    parsed.add_argument(
        "--questions",
        type=_positive,
        help="how many of their rows to use (default: 100 of arc, 300 of sst2, 72 of lora)",
    )
    parsed.add_argument(
        "--output",
        type=Path,
        default=ROOT / "benchmarks" / "results" / f"speed-{date.today().isoformat()}.json",
        help="where the JSON goes (default: benchmarks/results/speed-DATE.json)",
    )
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that were asked for; return the exit code, 1 where they could not be compared."""
    options = parser().parse_args(arguments)
    where = environment()
    if where["load_average_before"] > _IDLE_LOAD:
        say(f"The machine is busy (load average {where['load_average_before']}): the numbers will be noise.")
    model = os.path.abspath(options.model) if os.path.exists(options.model) else options.model
    comparisons: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="gptapps-speed-") as scratch:
        settings = Settings(
            model,
            options.rounds,
            options.warmups,
            options.threads,
            Path(scratch),
            options.data_root,
            options.questions,
        )
        try:
            for name in options.only or [name for name in BENCHMARKS if name not in _ON_REQUEST]:
                comparisons += BENCHMARKS[name](settings)
        except (BenchmarkError, GPTAppsError) as error:
            say(str(error))
            return 1
    print(table(comparisons))
    write(report(comparisons, settings.described(), where), options.output)
    say(f"written to {options.output}")
    return 0


def _names() -> str:
    return ", ".join(BENCHMARKS)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
