"""Extractive answers: generation held to the context, so that every answer has a place in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, overload

from typing_extensions import Unpack

from gptapps.decoding.constraints import Span, SubstringConstraint
from gptapps.decoding.request import Completion, Request
from gptapps.errors import DataError
from gptapps.examples import QuestionExample
from gptapps.outputs import Answer
from gptapps.pipelines.base import Many
from gptapps.pipelines.batched import BatchedPipeline
from gptapps.pipelines.fitting import Piece
from gptapps.pipelines.options import AnswerOptions
from gptapps.pipelines.writing import Draft, complete_drafts, draft, with_constraint
from gptapps.prompts.adapters import Prompt

_OVERLAP = 64  # tokens that neighbouring windows of a long context share


class QuestionAnsweringPipeline(BatchedPipeline[QuestionExample, Answer]):
    """Answers a question with a stretch of the context.

    Example:
        >>> pipeline("answer")(question="Who?", context="Ada wrote it.").text      # doctest: +SKIP
    """

    example_type = QuestionExample
    options_type: ClassVar[type] = AnswerOptions

    @overload
    def __call__(
        self, inputs: QuestionExample | None = None, *, question: str, context: str, **options: Unpack[AnswerOptions]
    ) -> Answer: ...
    @overload
    def __call__(self, inputs: QuestionExample, **options: Unpack[AnswerOptions]) -> Answer: ...
    @overload
    def __call__(self, inputs: Many[QuestionExample], **options: Unpack[AnswerOptions]) -> list[Answer]: ...
    def __call__(
        self,
        inputs: Any = None,
        *,
        question: str | None = None,
        context: str | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Any:
        """Answer one question, or each of a list.

        Args:
            inputs: an example or a list of them; or else
            question, context: of a single example.
            options: see :class:`~gptapps.pipelines.options.AnswerOptions`.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        if inputs is None:
            if question is None or context is None:
                raise DataError("Question answering needs both a question and a context.")
            inputs = {"question": question, "context": context}
        elif question is not None or context is not None:
            raise DataError("Give either examples or question and context, not both.")
        return self.one_or_many(inputs, options)

    def stream(self, inputs: Iterable[QuestionExample], **options: Unpack[AnswerOptions]) -> Iterator[Answer]:
        """Answer an iterable of questions lazily and in order, batched inside."""
        return self.run(inputs, options)

    def check_example(self, example: QuestionExample) -> None:
        """Raise :class:`DataError` if question or context is empty."""
        for field in ("question", "context"):
            if not getattr(example, field).strip():
                raise DataError(f"The {field} of an input is empty: give it some text.")

    def predict_unordered(
        self, examples: Iterable[QuestionExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the number of each example and its answer; windows of a context give the likeliest of their answers."""
        drafts = (self._draft(example, options) for example in examples)
        for number, one, completions in complete_drafts(self.engine, drafts):
            found = [
                (completion, _span_in(request, completion), piece)
                for piece, request, (completion, *_) in zip(one.pieces, one.requests, completions, strict=True)
            ]
            completion, span, piece = max(found, key=lambda entry: _score(entry[0]))
            start, end = piece.start + span.start, piece.start + span.end
            output = Answer(
                text=one.example.context[start:end],
                score=_score(completion),
                start=start,
                end=end,
                usage=one.usage(completions),
            )
            yield number, output

    def _draft(self, example: QuestionExample, options: Mapping[str, Any]) -> Draft:
        language = self.language_of(example, options, example.question + example.context)
        adapter = self.adapter(language, options)

        def render(context: str) -> Prompt:
            return adapter.render({"question": example.question, "context": context})

        one = draft(self, example, language, example.context, render, options, overlap=_OVERLAP)
        prefix = render(example.context).answer_prefix
        tokenizer = self.model.tokenizer
        newlines = [token for ending in (b"\n", b"\n\n") for token in tokenizer.ids_by_bytes().get(ending, ())]

        def constraint(piece: Piece) -> SubstringConstraint:
            return SubstringConstraint(tokenizer, piece.text, end_ids=(*tokenizer.eos_ids, *newlines), leading=prefix)

        return with_constraint(one, constraint)


def _score(completion: Completion) -> float:
    return math.exp(completion.log_likelihood / len(completion.tokens))


def _span_in(request: Request, completion: Completion) -> Span:
    constraint = request.constraint
    if not isinstance(constraint, SubstringConstraint):
        raise TypeError("an answer's request is held to its context")
    state = constraint.start()
    for token in completion.tokens:
        state.advance(token)
    return state.span()
