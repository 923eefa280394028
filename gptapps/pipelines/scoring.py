"""How likely a text is, and which of several continuations is the likeliest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from typing_extensions import Unpack

from gptapps.decoding.choice_scoring import score_choices, split_choices
from gptapps.decoding.intake import Intake
from gptapps.decoding.text_scoring import scoring_windows, token_log_probabilities
from gptapps.examples import ScoringExample
from gptapps.outputs import Likelihood, Usage
from gptapps.pipelines.base import Many, Pipeline
from gptapps.pipelines.options import ScoringOptions


class ScoringPipeline(Pipeline[ScoringExample, Likelihood]):
    """Gives a text's log-likelihood and perplexity.

    A text without context is scored behind the token that begins texts, so that its first token counts too. A text
    longer than the model can hold is read in overlapping windows.

    Example:
        >>> pipeline("score")("The cat sat on the mat.").perplexity      # doctest: +SKIP
    """

    example_type = ScoringExample
    options_type = ScoringOptions
    overflows = ("chunk",)

    @overload
    def __call__(self, inputs: str | ScoringExample, **options: Unpack[ScoringOptions]) -> Likelihood: ...
    @overload
    def __call__(self, inputs: Many[ScoringExample], **options: Unpack[ScoringOptions]) -> list[Likelihood]: ...
    def __call__(self, inputs: Any, **options: Unpack[ScoringOptions]) -> Any:
        """Score one text, or each of a list.

        Args:
            inputs: a text, an example (with a context, with continuations), or a list of them.
            options: see :class:`~gptapps.pipelines.options.ScoringOptions`.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return self.one_or_many(inputs, options)

    def stream(self, inputs: Iterable[str | ScoringExample], **options: Unpack[ScoringOptions]) -> Iterator[Likelihood]:
        """Score an iterable lazily and in order, batched inside."""
        return self.run(inputs, options)

    def predict(self, examples: Iterable[ScoringExample], options: Mapping[str, Any]) -> Iterator[Likelihood]:
        """Yield the likelihood of each example."""
        intake = Intake((example, *self._encoded(example)) for example in examples)
        while batch := intake.take(self.setup.batch_size):
            yield from self._score(batch)
        intake.raise_error()

    def _score(self, batch: Sequence[tuple[ScoringExample, list[int], int]]) -> Iterator[Likelihood]:
        examples, texts, given = zip(*batch, strict=True)
        scores = token_log_probabilities(
            self.model,
            texts,
            given=given,
            batch_size=self.setup.batch_size,
            max_cache_bytes=self.setup.max_cache_bytes,
        )
        for example, text, context, parts in zip(examples, texts, given, scores, strict=True):
            total, size = math.fsum(parts), len(example.text.encode())
            choices = self._continuations(example)
            yield Likelihood(
                log_likelihood=total,
                perplexity=math.exp(-total / len(parts)),
                bits_per_byte=-total / math.log(2) / size,
                tokens=len(parts),
                bytes=size,
                best=max(range(len(choices)), key=choices.__getitem__) if choices else None,
                continuations=choices,
                usage=Usage(
                    input_tokens=context,
                    output_tokens=len(text) - context,
                    chunks=len(scoring_windows(len(text), context, self.model.context_length)),
                ),
            )

    def _encoded(self, example: ScoringExample) -> tuple[list[int], int]:
        """Return the ids of context and text, and how many of them are context."""
        tokenizer = self.model.tokenizer
        start = [self.model.start_id]
        whole = start + tokenizer.encode(example.context + example.text, special_tokens=False)
        context = start + tokenizer.encode(example.context, special_tokens=False)
        shared = next((place for place, (a, b) in enumerate(zip(whole, context, strict=False)) if a != b), len(context))
        return whole, min(shared, len(whole) - 1)

    def _continuations(self, example: ScoringExample) -> tuple[float, ...]:
        if not example.continuations:
            return ()
        tokenizer = self.model.tokenizer
        text = example.context + example.text
        start = [self.model.start_id]
        plain = start + tokenizer.encode(text, special_tokens=False)
        encoded = [
            start + tokenizer.encode(text + continuation, special_tokens=False)
            for continuation in example.continuations
        ]
        (scores,) = score_choices(
            self.model, [split_choices(encoded, plain)], max_cache_bytes=self.setup.max_cache_bytes
        )
        return scores
