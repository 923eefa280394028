"""Free generation: a text continued, or an instruction followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from typing_extensions import Unpack

from gptapps.errors import OptionError
from gptapps.examples import GenerationExample
from gptapps.outputs import Generation
from gptapps.pipelines.base import Many
from gptapps.pipelines.batched import BatchedPipeline
from gptapps.pipelines.options import GenerationOptions
from gptapps.pipelines.writing import Draft, complete_drafts, draft
from gptapps.prompts.adapters import Prompt


class GenerationPipeline(BatchedPipeline[GenerationExample, Generation]):
    """Continues a text, or answers it in a chat where the model has a chat template.

    Example:
        >>> pipeline("generate")("Write a line about rain.", temperature=0.8, seed=1).text      # doctest: +SKIP
    """

    example_type = GenerationExample
    options_type = GenerationOptions
    overflows = ("error", "truncate")

    @overload
    def __call__(self, inputs: str | GenerationExample, **options: Unpack[GenerationOptions]) -> Generation: ...
    @overload
    def __call__(self, inputs: Many[GenerationExample], **options: Unpack[GenerationOptions]) -> list[Generation]: ...
    def __call__(self, inputs: Any, **options: Unpack[GenerationOptions]) -> Any:
        """Continue one text, or each of a list.

        Args:
            inputs: a text, an example, or a list of them.
            options: see :class:`~gptapps.pipelines.options.GenerationOptions`.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return self.one_or_many(inputs, options)

    def stream(
        self, inputs: Iterable[str | GenerationExample], **options: Unpack[GenerationOptions]
    ) -> Iterator[Generation]:
        """Continue each text of an iterable lazily and in order, batched inside."""
        return self.run(inputs, options)

    def stream_text(self, text: str, **options: Unpack[GenerationOptions]) -> Iterator[str]:
        """Yield the continuation of one text piece by piece, as soon as each is certain.

        A piece is whole characters; joined, the pieces are what :meth:`__call__` returns as ``text``.

        Raises:
            OptionError: beams or several returns, which are known only at the end.
        """
        merged = self._defaults | self.checked_options(self.definition.id, options)
        if merged.get("beams", 1) > 1 or merged.get("returns", 1) > 1:
            raise OptionError("Text is streamed as it is written: leave out beams and returns.")
        (request,) = self._draft(self.as_example(text), merged).requests
        for piece in self.engine.stream(request):
            if isinstance(piece, str):
                yield piece

    def predict_unordered(
        self, examples: Iterable[GenerationExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Generation]]:
        """Yield the number and the continuations of each example."""
        drafts = (self._draft(example, options) for example in examples)
        for number, one, completions in complete_drafts(self.engine, drafts):
            (returned,) = completions
            output = Generation(
                text=returned[0].text,
                texts=tuple(completion.text for completion in returned),
                finish_reason=returned[0].finish_reason.value,
                log_likelihood=returned[0].log_likelihood,
                usage=one.usage(completions),
            )
            yield number, output

    def _draft(self, example: GenerationExample, options: Mapping[str, Any]) -> Draft:
        language = self.language_of(example, options, example.text)
        adapter = self.adapter(language, options)

        def render(text: str) -> Prompt:
            return adapter.render({"text": text})

        return draft(self, example, language, example.text, render, options, keep_end=True)
