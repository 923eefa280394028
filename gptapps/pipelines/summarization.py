"""Summaries: one prompt for a text that fits, and summaries of summaries for one that doesn't."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from typing_extensions import Unpack

from gptapps.examples import SummarizationExample
from gptapps.outputs import FinishReason, Summary, Usage
from gptapps.pipelines.base import Many
from gptapps.pipelines.batched import BatchedPipeline
from gptapps.pipelines.options import SummaryOptions
from gptapps.pipelines.writing import Draft, complete_drafts, draft
from gptapps.prompts.adapters import Prompt
from gptapps.tokenization.sentences import sentence_ends

_TOKENS_PER_WORD = 3  # generous: English needs 1.3, a Chinese character up to 3
_SHRINKS = 0.9  # summaries of the pieces of a text are to be shorter than this share of it
_WORD = re.compile(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")


class SummarizationPipeline(BatchedPipeline[SummarizationExample, Summary]):
    """Makes a short text of a long one.

    Example:
        >>> pipeline("summarize")("A long text …").text      # doctest: +SKIP
    """

    example_type = SummarizationExample
    options_type = SummaryOptions

    @overload
    def __call__(self, inputs: str | SummarizationExample, **options: Unpack[SummaryOptions]) -> Summary: ...
    @overload
    def __call__(self, inputs: Many[SummarizationExample], **options: Unpack[SummaryOptions]) -> list[Summary]: ...
    def __call__(self, inputs: Any, **options: Unpack[SummaryOptions]) -> Any:
        """Summarize one text, or each of a list.

        Args:
            inputs: a text, an example, or a list of them.
            options: see :class:`~gptapps.pipelines.options.SummaryOptions`.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return self.one_or_many(inputs, options)

    def stream(
        self, inputs: Iterable[str | SummarizationExample], **options: Unpack[SummaryOptions]
    ) -> Iterator[Summary]:
        """Summarize an iterable lazily and in order, batched inside."""
        return self.run(inputs, options)

    def predict_unordered(
        self, examples: Iterable[SummarizationExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Summary]]:
        """Yield the number and a summary of each example."""
        options = {"max_new_tokens": _TOKENS_PER_WORD * options.get("max_words", 60), **options}
        drafts = (self._draft(example, options) for example in examples)
        for number, one, completions in complete_drafts(self.engine, drafts):
            usage = one.usage(completions)
            parts = [returned[0] for returned in completions]
            if len(parts) == 1:
                yield number, _summary(parts[0].text, parts[0].finish_reason.value, usage, options)
            else:
                yield number, self._summary_of_parts(one, [part.text.strip() for part in parts], usage, options)

    def _draft(self, example: SummarizationExample, options: Mapping[str, Any]) -> Draft:
        language = self.language_of(example, options, example.text)
        adapter = self.adapter(language, options)

        def render(text: str) -> Prompt:
            return adapter.render({"text": text, "max_words": options.get("max_words")})

        return draft(self, example, language, example.text, render, options)

    def _summary_of_parts(self, one: Draft, parts: Sequence[str], usage: Usage, options: Mapping[str, Any]) -> Summary:
        shortened = [shorten(part, options["max_words"]) if "max_words" in options else part for part in parts]
        joined = "\n".join(part for part in shortened if part) or parts[0]
        if len(joined) > _SHRINKS * len(one.example.text):  # no end of summaries is in sight
            options = {**options, "overflow": "truncate"}
        last = next(self.predict([SummarizationExample(text=joined, language=one.language)], options))
        total = Usage(
            input_tokens=usage.input_tokens + last.usage.input_tokens,
            output_tokens=usage.output_tokens + last.usage.output_tokens,
            dropped_tokens=usage.dropped_tokens + last.usage.dropped_tokens,
            chunks=usage.chunks,
        )
        return Summary(text=last.text, finish_reason=last.finish_reason, usage=total)


def _summary(text: str, finish_reason: FinishReason, usage: Usage, options: Mapping[str, Any]) -> Summary:
    text = text.strip()
    kept = shorten(text, options["max_words"]) if "max_words" in options else text
    return Summary(text=kept, finish_reason=finish_reason if kept == text else "length", usage=usage)


def shorten(text: str, max_words: int) -> str:
    """Return at most ``max_words`` words of a text: whole sentences where one fits, else whole words.

    A Chinese character counts as a word.

    Example:
        >>> shorten("It rained. Then the sun came out again.", 5)
        'It rained.'
    """
    words = [match for match in _WORD.finditer(text) if any(map(str.isalnum, match[0]))]
    if len(words) <= max_words:
        return text
    sentences = [end for end in sentence_ends(text) if end <= words[max_words].start()]
    return text[: sentences[-1]].rstrip() if sentences else text[: words[max_words - 1].end()]
