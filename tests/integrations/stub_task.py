"""A task without a model, so that bulk prediction takes no time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from gptapps.errors import DataError
from gptapps.examples import GenerationExample
from gptapps.outputs import Generation, Usage


class StubTask:
    """Says every text in capitals, and notes it; a text "bad" is refused."""

    example_type = GenerationExample
    model = "one"
    seconds: ClassVar[float] = 0.0
    seen: ClassVar[list[str]] = []

    def as_example(self, given: Mapping[str, Any]) -> GenerationExample:
        """Return the example of a row."""
        return GenerationExample.model_validate(given)

    def run(self, examples: Iterable[GenerationExample], options: Mapping[str, Any]) -> Iterator[Generation]:
        """Yield an output for each example."""
        for example in examples:
            time.sleep(self.seconds)
            if example.text == "bad":
                raise DataError("An input is bad.")
            StubTask.seen.append(example.text)
            usage = Usage(input_tokens=1, output_tokens=1)
            text = example.text.upper()
            yield Generation(text=text, texts=(text,), finish_reason="end", log_likelihood=0.0, usage=usage)


def stub_identity(model: str) -> dict[str, str]:
    """Stand in for ``model_identity(...)``."""
    return {"sha256": model}


def stub_pipeline(task: str, **options: Any) -> StubTask:
    """Stand in for ``pipeline(...)``."""
    return StubTask()
