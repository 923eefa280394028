"""Translations, sentence by sentence where a text is too long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from typing_extensions import Unpack

from gptapps.errors import DataError, OptionError
from gptapps.examples import TranslationExample
from gptapps.outputs import Translation
from gptapps.pipelines.base import Many
from gptapps.pipelines.batched import BatchedPipeline
from gptapps.pipelines.options import TranslationOptions
from gptapps.pipelines.writing import Draft, complete_drafts, draft
from gptapps.prompts.adapters import Prompt
from gptapps.prompts.languages import language_name

_WITHOUT_SPACES = frozenset({"zh", "ja", "th"})


class TranslationPipeline(BatchedPipeline[TranslationExample, Translation]):
    """Says a text in another language.

    Example:
        >>> pipeline("translate", source="en", target="fr")("Good morning.").text      # doctest: +SKIP
    """

    example_type = TranslationExample
    options_type = TranslationOptions

    @overload
    def __call__(self, inputs: str | TranslationExample, **options: Unpack[TranslationOptions]) -> Translation: ...
    @overload
    def __call__(
        self, inputs: Many[TranslationExample], **options: Unpack[TranslationOptions]
    ) -> list[Translation]: ...
    def __call__(self, inputs: Any, **options: Unpack[TranslationOptions]) -> Any:
        """Translate one text, or each of a list.

        Args:
            inputs: a text, an example, or a list of them.
            options: see :class:`~gptapps.pipelines.options.TranslationOptions`.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return self.one_or_many(inputs, options)

    def stream(
        self, inputs: Iterable[str | TranslationExample], **options: Unpack[TranslationOptions]
    ) -> Iterator[Translation]:
        """Translate an iterable lazily and in order, batched inside."""
        return self.run(inputs, options)

    def predict_unordered(
        self, examples: Iterable[TranslationExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Translation]]:
        """Yield the number and a translation of each example."""
        drafts = (self._draft(example, options) for example in examples)
        for number, one, completions in complete_drafts(self.engine, drafts):
            source, target = self._languages(one.example, options)
            texts = [returned[0].text.strip() for returned in completions]
            output = Translation(
                text=("" if target in _WITHOUT_SPACES else " ").join(texts),
                source=source,
                target=target,
                finish_reason=completions[-1][0].finish_reason.value,
                usage=one.usage(completions),
            )
            yield number, output

    def _languages(self, example: TranslationExample, options: Mapping[str, Any]) -> tuple[str, str]:
        source, target = example.source or options.get("source"), example.target or options.get("target")
        if source is None or target is None:
            missing = "source" if source is None else "target"
            raise OptionError(f'Translation needs the {missing} language: give {missing}, such as {missing}="fr".')
        for field, code in (("source", source), ("target", target)):
            try:
                language_name(code)
            except OptionError as error:
                if getattr(example, field) is None:
                    raise
                raise DataError(str(error)) from None  # the input's own mistake
        if source == target:
            raise OptionError(f"Translation from {source!r} to {target!r} has nothing to do: give two languages.")
        return source, target

    def _draft(self, example: TranslationExample, options: Mapping[str, Any]) -> Draft:
        source, target = self._languages(example, options)
        language = example.language or options.get("language") or "en"
        language = self.language_of(example, {**options, "language": language}, example.text)
        adapter = self.adapter(language, options)

        def render(text: str) -> Prompt:
            return adapter.render({"text": text, "source": source, "target": target})

        return draft(self, example, language, example.text, render, options)
