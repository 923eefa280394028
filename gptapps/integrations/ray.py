"""Prediction over many files on Ray Data: each worker has a model of its own and does parts.

A worker that dies is started again and its part done again; a part's results appear at once or not at all, so nothing
is lost and nothing comes twice. On a cluster of several machines the folders have to be shared ones.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gptapps import errors
from gptapps.errors import GPTAppsError, OptionError, ResourceError
from gptapps.integrations.bulk import BulkPlan, Part
from gptapps.integrations.bulk_worker import PartWorker

_MOST_BLOCKS = 1000


class RayWorker:
    """What a process of the cluster runs.

    Args:
        plan: what is to be done.
        folder: the working directory that its paths count from.
    """

    def __init__(self, plan: BulkPlan, folder: str) -> None:
        os.chdir(folder)
        self._worker = PartWorker(plan)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Do a part; a person's mistake comes back as what it says, so that it isn't tried again."""
        try:
            self._worker.do(Part(Path(row["file"]), int(row["number"]), Path(row["target"])))
        except GPTAppsError as error:
            return {"place": row["place"], "error": type(error).__name__, "message": str(error)}
        return {"place": row["place"], "error": "", "message": ""}


def run_on_ray(plan: BulkPlan, parts: Sequence[Part], workers: int | None = None) -> Iterator[Part]:
    """Do parts on the workers of a Ray cluster; yield each when it is done, in whatever order that happens.

    The cluster is the one that this process is connected to or that ``RAY_ADDRESS`` names; without either, one is
    started on this machine and stopped at the end.

    Args:
        plan: what is to be done.
        parts: which parts.
        workers: how many processes, each with a model of its own; by default one for each CPU, or for each GPU where
            the plan's device is one, and never more than parts.

    Raises:
        OptionError: fewer than one worker.
        ResourceError: Ray isn't installed.
        GPTAppsError: an input, an option or the model can't be used.
    """
    if workers is not None and workers < 1:
        raise OptionError(f"workers is {workers}, but has to be 1 or above.")
    if not parts:
        return
    ray = _library()
    started = not ray.is_initialized()
    if started:
        _start(ray, workers)
    try:
        for row in _rows(ray, plan, parts, workers):
            if row["error"]:
                raise getattr(errors, row["error"])(row["message"])
            yield parts[row["place"]]
    finally:
        if started:
            ray.shutdown()


def _rows(ray: Any, plan: BulkPlan, parts: Sequence[Part], workers: int | None) -> Iterator[Mapping[str, Any]]:
    data = import_module("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # the terminal, not the log files
            handler.setLevel(logging.ERROR)
    gpus = 1 if str(plan.options.get("device", "cpu")).startswith("cuda") else 0
    there = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1))
    size = min(workers or there, len(parts))
    rows = [
        {"place": place, "file": str(part.file), "number": part.number, "target": str(part.target)}
        for place, part in enumerate(parts)
    ]
    done = data.from_items(rows, override_num_blocks=min(len(parts), _MOST_BLOCKS)).map(
        RayWorker,
        fn_constructor_args=(plan, os.getcwd()),
        compute=data.ActorPoolStrategy(size=size),  # which starts its workers again, as often as they die
        num_cpus=0 if gpus else 1,
        num_gpus=gpus,
    )
    yield from done.iter_rows()


def _start(ray: Any, workers: int | None) -> None:
    local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": max(workers or 0, os.cpu_count() or 1)}
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **local)


def _library() -> Any:
    try:
        import_module("ray.data")
        return import_module("ray")
    except ModuleNotFoundError:
        raise ResourceError(
            "The engine ray needs Ray Data, which isn't installed: run pip install 'gptapps[ray]', or take the engine "
            "local."
        ) from None
