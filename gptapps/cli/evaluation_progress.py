"""Progress of evaluations on standard error; nothing at all where that is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from gptapps.cli.progress import Progress, counting_bars

if TYPE_CHECKING:
    from gptapps.evaluation.run import Run
    from gptapps.evaluation.run_folder import Finished


class RunProgress:
    """A bar of examples for each run, and bars of downloads before it, as a context.

    Args:
        shown: whether anything is drawn.
    """

    def __init__(self, shown: bool) -> None:
        self._downloads = Progress(shown)
        self._runs = counting_bars(shown)

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._downloads.__exit__(kind, error, trace)
        self._runs.stop()

    def download(self, what: str, done: int, total: int) -> None:
        """Draw how far a download is; fits :data:`gptapps.model_store.Progress`."""
        self._downloads.download(what, done, total)

    def watch(self, name: str, run: Run) -> Iterator[Finished]:
        """Go through what remains of a run and draw how many of its examples are done."""
        self._downloads.__exit__(None, None, None)  # two live displays don't go together
        self._runs.start()
        task = self._runs.add_task(name, total=len(run), completed=run.done)
        for finished in run.remaining():
            yield finished
            self._runs.advance(task)
        self._runs.remove_task(task)
