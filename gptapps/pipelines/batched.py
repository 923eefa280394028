"""Pipelines that work on several examples at once, of which some are done before earlier ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gptapps.decoding.ordering import in_order
from gptapps.pipelines.base import E, O, Pipeline


class BatchedPipeline(Pipeline[E, O]):
    """A pipeline that hands outputs out as they are done, or in order.

    A subclass writes :meth:`predict_unordered`. One that writes :meth:`predict` or :meth:`run` all the same, to do
    something with inputs or outputs, is taken at its word: its outputs come in order.
    """

    @abstractmethod
    def predict_unordered(self, examples: Iterable[E], options: Mapping[str, Any]) -> Iterator[tuple[int, O]]:
        """Yield each example's number, from 0, and its output, lazily and as soon as it is done.

        An error of the examples is raised once everything before it was yielded, so that whoever reads on knows which
        example it belongs to.

        Args:
            examples: checked examples.
            options: merged options: the task's defaults, then the pipeline's, then the call's.
        """

    def predict(self, examples: Iterable[E], options: Mapping[str, Any]) -> Iterator[O]:
        """Yield an output for each example, lazily and in order."""
        return in_order(self.predict_unordered(examples, options))

    def run_unordered(self, inputs: Iterable[object], options: Mapping[str, object]) -> Iterator[tuple[int, O]]:
        """Check inputs and options and yield each input's number and output, lazily and as soon as it is done.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        if type(self).predict is not BatchedPipeline.predict or type(self).run is not Pipeline.run:
            return super().run_unordered(inputs, options)
        return self.predict_unordered(*self._checked(inputs, options))
