"""A side's own process, seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

from benchmarks.speed.measuring import ROOT, BenchmarkError


class SideProcess:
    """A process that does jobs for one side, with its number of threads fixed before anything is imported.

    Args:
        module: ``benchmarks.speed.ours`` or another that calls :func:`benchmarks.speed.serving.serve`.
        threads: of OpenMP and MKL; the side sets PyTorch's itself.

    Attributes:
        peak_bytes: the most memory it has held, as of the last job.

    Example:
        >>> with SideProcess("benchmarks.speed.ours", 2) as side:          # doctest: +SKIP
        ...     side.call("load", model="smollm2-135m-instruct", threads=2)
    """

    def __init__(self, module: str, threads: int) -> None:
        self._module = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed on exit)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env=side_environment(threads),
            text=True,
            encoding="utf-8",
        )
        self.peak_bytes = 0

    def __enter__(self) -> SideProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._errors.close()

    def call(self, method: str, **arguments: Any) -> Any:
        """Let the side do a job and return its value.

        Raises:
            BenchmarkError: the process ended; the message ends with what it last wrote to standard error.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise BenchmarkError(f"{self._module} was started without pipes.")
        try:
            self._process.stdin.write(json.dumps({"method": method, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended(method) from error
        line = self._process.stdout.readline()
        if not line:
            raise self._ended(method)
        reply = json.loads(line)
        self.peak_bytes = reply["peak_bytes"]
        return reply["value"]

    def _ended(self, method: str) -> BenchmarkError:
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode("utf-8", "replace").strip().splitlines()[-5:]
        return BenchmarkError("\n".join((f"{self._module} ended while it did {method!r}:", *last)))


def side_environment(threads: int) -> dict[str, str]:
    """Return the variables that both sides are started with: threads set, nothing fetched, little said."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
