"""How likely a text is, and which of several continuations is the likeliest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, overload

from typing_extensions import Unpack

from gptapps.decoding.choice_scoring import Choices, log_likelihoods, scores_unordered, split_choices
from gptapps.decoding.ordering import gathered
from gptapps.decoding.shared_reading import Scores
from gptapps.decoding.text_scoring import text_windows
from gptapps.examples import ScoringExample
from gptapps.outputs import Likelihood, Usage
from gptapps.pipelines.base import Many
from gptapps.pipelines.batched import BatchedPipeline
from gptapps.pipelines.options import ScoringOptions


@dataclass(frozen=True, slots=True)
class _Draft:
    """One example on its way: tokens of context and text, the text's windows, and its continuations to compare."""

    example: ScoringExample
    context: int
    scored: int
    windows: tuple[Choices, ...]
    choices: Choices | None

    def items(self) -> tuple[Choices, ...]:
        """Return all that has to be scored."""
        return (*self.windows, self.choices) if self.choices else self.windows


class ScoringPipeline(BatchedPipeline[ScoringExample, Likelihood]):
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

    def predict_unordered(
        self, examples: Iterable[ScoringExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Likelihood]]:
        """Yield the number and the likelihood of each example."""
        drafts = map(self._draft, examples)
        with self.engine.trees.borrow() as tree:
            score = partial(scores_unordered, tree, batch_size=self.setup.batch_size)
            for number, draft, scores in gathered(drafts, _Draft.items, score):
                yield number, _likelihood(draft, scores)

    def _draft(self, example: ScoringExample) -> _Draft:
        text, context = self._encoded(example)
        windows = tuple(text_windows(text, context, self.model.context_length))
        return _Draft(example, context, len(text) - context, windows, self._choices(example))

    def _encoded(self, example: ScoringExample) -> tuple[list[int], int]:
        """Return the ids of context and text, and how many of them are context."""
        tokenizer = self.model.tokenizer
        start = [*self.model.opening, self.model.start_id]
        whole = start + tokenizer.encode(example.context + example.text, special_tokens=False)
        context = start + tokenizer.encode(example.context, special_tokens=False)
        shared = next((place for place, (a, b) in enumerate(zip(whole, context, strict=False)) if a != b), len(context))
        return whole, min(shared, len(whole) - 1)

    def _choices(self, example: ScoringExample) -> Choices | None:
        if not example.continuations:
            return None
        tokenizer = self.model.tokenizer
        text = example.context + example.text
        start = [*self.model.opening, self.model.start_id]
        plain = start + tokenizer.encode(text, special_tokens=False)
        encoded = [
            start + tokenizer.encode(text + continuation, special_tokens=False)
            for continuation in example.continuations
        ]
        return split_choices(encoded, plain)


def _likelihood(draft: _Draft, scores: Sequence[Scores]) -> Likelihood:
    tokens = [token for (window,) in scores[: len(draft.windows)] for token in window]
    total, size = math.fsum(token.log_probability for token in tokens), len(draft.example.text.encode())
    continuations = log_likelihoods(scores[-1]) if draft.choices else ()
    return Likelihood(
        log_likelihood=total,
        perplexity=math.exp(-total / len(tokens)),
        bits_per_byte=-total / math.log(2) / size,
        tokens=len(tokens),
        bytes=size,
        greedy=all(token.likeliest for token in tokens),
        best=max(range(len(continuations)), key=continuations.__getitem__) if continuations else None,
        continuations=continuations,
        usage=Usage(input_tokens=draft.context, output_tokens=draft.scored, chunks=len(draft.windows)),
    )
