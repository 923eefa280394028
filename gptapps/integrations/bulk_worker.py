"""Who does the parts of many files: in this process, or one in each process of a cluster."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from gptapps.cache_files import durable
from gptapps.datasets import Row, read_rows
from gptapps.decoding.model_identity import model_identity
from gptapps.errors import OptionError
from gptapps.integrations.bulk import BulkPlan, Part, unwritable
from gptapps.pipelines.factory import pipeline
from gptapps.pipelines.rows import examples_of, with_places

_MODEL = ".map-model.json"


class PartWorker:
    """Does parts. Its model is loaded with the first one, and a file's rows are gone through once.

    Args:
        plan: what is to be done.
        progress: told about downloads.
    """

    def __init__(self, plan: BulkPlan, progress: Any = None) -> None:
        self._plan = plan
        self._progress = progress
        self._task: Any = None
        self._at: tuple[Path, int] | None = None
        self._rows: Iterator[Row] = iter(())

    def do(self, part: Part) -> None:
        """Do a part and write its results, unless somebody has done it.

        Raises:
            GPTAppsError: an input, an option or the model can't be used; of an input it names the place.
        """
        if part.target.exists():
            return
        if self._task is None:
            self._task = pipeline(self._plan.task, progress=self._progress, **self._plan.options)
            self._require_same_model()
        places: deque[str] = deque()
        examples = examples_of(self._read(part), self._task, {}, places)
        outputs = with_places(self._task.run(examples, {}), places)
        try:
            with durable(part.target) as file:
                for output in outputs:
                    file.write(f"{output.model_dump_json()}\n".encode())
        except OSError as error:
            raise unwritable(self._plan.output, error) from None

    def _require_same_model(self) -> None:
        """Refuse to go on with another model than began, be its name the same."""
        mark, identity = self._plan.output / _MODEL, model_identity(self._task.model)
        if mark.exists():
            if json.loads(mark.read_bytes()) != identity:
                raise OptionError(
                    f"The results in {self._plan.output} are of another model, though its name is the same: name "
                    "another folder as output."
                )
            return
        try:
            with durable(mark) as file:
                file.write((json.dumps(identity) + "\n").encode())
        except OSError as error:
            raise unwritable(self._plan.output, error) from None

    def _read(self, part: Part) -> list[Row]:
        if self._at is None or self._at[0] != part.file or self._at[1] > part.number:
            self._rows, self._at = read_rows(part.file, self._plan.format), (part.file, 0)
        skipped = (part.number - self._at[1]) * self._plan.part_rows
        self._at = part.file, part.number + 1
        return list(islice(self._rows, skipped, skipped + self._plan.part_rows))


def run_here(plan: BulkPlan, parts: Sequence[Part], progress: Any = None) -> Iterator[Part]:
    """Do parts in this process, in order; yield each when it is done.

    Raises:
        GPTAppsError: an input, an option or the model can't be used.
    """
    worker = PartWorker(plan, progress)
    for part in parts:
        worker.do(part)
        yield part
