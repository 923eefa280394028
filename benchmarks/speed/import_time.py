"""What ``import gptapps`` costs, and that it brings neither torch nor transformers with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial

from benchmarks.speed.measuring import OURS, ROOT, BenchmarkError, Comparison, Samples, Target, interleaved, say
from benchmarks.speed.process import side_environment
from benchmarks.speed.settings import Settings

HEAVY = ("torch", "transformers")
_BARE = "bare interpreter"
_LOADED = f"import gptapps, json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"


def run(settings: Settings) -> list[Comparison]:
    """Measure ``import gptapps`` and ``import transformers``, each less a bare interpreter's start next to it.

    Raises:
        BenchmarkError: ``import gptapps`` loads torch or transformers.
    """
    say("import: the bare interpreter, gptapps, transformers")
    loaded = json.loads(_python(_LOADED, settings.threads))
    if loaded:
        raise BenchmarkError(f"`import gptapps` loads {' and '.join(loaded)}.")

    def seconds_of(code: str) -> float:
        started = time.perf_counter()
        _python(code, settings.threads)
        return time.perf_counter() - started

    codes = {_BARE: "pass", OURS: "import gptapps", "transformers": "import transformers"}
    seconds = interleaved(
        {name: partial(seconds_of, code) for name, code in codes.items()}, settings.rounds, settings.warmups
    )
    bare = seconds.pop(_BARE)
    ours, theirs = (
        Samples(name, tuple(whole - start for whole, start in zip(wholes, bare, strict=True)))
        for name, wholes in seconds.items()
    )
    return [
        Comparison(
            name="import",
            what="seconds that the import takes in a new process, beyond a bare interpreter's start",
            unit="s",
            ours=ours,
            peers=(theirs,),
            target=Target("median", "at most", 0.2),
            checks={"not_loaded": list(HEAVY)},
        )
    ]


def _python(code: str, threads: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=side_environment(threads),
        capture_output=True,
        check=True,
        text=True,
    ).stdout
