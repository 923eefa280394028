"""Progress on standard error; nothing at all where that is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

T = TypeVar("T")


class Progress:
    """Bars for downloads and a count of results, as a context.

    Args:
        shown: whether anything is drawn.
    """

    def __init__(self, shown: bool) -> None:
        console = Console(stderr=True)
        self._downloads = Bars(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console, disable=not shown
        )
        self._results = Bars(
            TextColumn("{task.completed:.0f} done"),
            TimeElapsedColumn(),
            console=console,
            disable=not shown,
            transient=True,
        )
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._downloads.stop()
        self._results.stop()

    def download(self, what: str, done: int, total: int) -> None:
        """Draw how far a download is; fits :data:`gptapps.model_store.Progress`."""
        if what not in self._tasks:
            self._downloads.start()
            self._tasks[what] = self._downloads.add_task(what, total=total)
        self._downloads.update(self._tasks[what], completed=done, total=total)  # type: ignore[arg-type]

    def count(self, results: Iterable[T]) -> Iterator[T]:
        """Pass results on and draw how many came."""
        self._downloads.stop()
        self._results.start()
        task = self._results.add_task("", total=None)
        for result in results:
            yield result
            self._results.advance(task)


def counting_bars(shown: bool) -> Bars:
    """Return bars that say how many of a known number are done, on standard error."""
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
        transient=True,
    )


class Steps:
    """Bars for downloads, then one for each kind of step of a long piece of work, as a context.

    Args:
        shown: whether anything is drawn.
    """

    def __init__(self, shown: bool) -> None:
        self._downloads = Progress(shown)
        self._bars = counting_bars(shown)
        self._task: tuple[str, TaskID] | None = None

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._downloads.__exit__(kind, error, trace)
        self._bars.stop()

    def download(self, what: str, done: int, total: int) -> None:
        """Draw how far a download is; fits :data:`gptapps.model_store.Progress`."""
        self._downloads.download(what, done, total)

    def step(self, what: str, done: int, total: int) -> None:
        """Draw how far a kind of step is; another kind takes the place of the last one."""
        if self._task is None or self._task[0] != what:
            self._downloads.__exit__(None, None, None)  # two live displays don't go together
            self._bars.start()
            if self._task is not None:
                self._bars.remove_task(self._task[1])
            self._task = (what, self._bars.add_task(what, total=total))
        self._bars.update(self._task[1], completed=done, total=total)
