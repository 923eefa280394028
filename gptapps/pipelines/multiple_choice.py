"""Multiple choice: the likelihood of every choice behind one encoding of the question.

The choices aren't shown to the model: each is scored as the whole answer, as ARC and its like are commonly evaluated
(Brown et al. 2020, "Language Models are Few-Shot Learners", section 2.4). A long choice is less likely than a short one
for its length alone; ``normalize`` divides that out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, overload

import torch
from typing_extensions import Unpack

from gptapps.decoding.choice_scoring import Choices, log_likelihoods, scores_unordered, split_choices
from gptapps.decoding.ordering import gathered
from gptapps.errors import DataError
from gptapps.examples import ChoiceExample
from gptapps.outputs import Choice, Usage
from gptapps.pipelines.base import Many
from gptapps.pipelines.batched import BatchedPipeline
from gptapps.pipelines.choice_rows import choice_fields
from gptapps.pipelines.fitting import fit
from gptapps.pipelines.options import ChoiceOptions, Normalize
from gptapps.prompts.adapters import Prompt

_OF_CHOICES = ("choices", "answer")  # an answer says nothing where the choices aren't known


@dataclass(frozen=True, slots=True)
class _Question:
    """One example on its way: its choices as texts and as token ids behind the prompt."""

    choices: tuple[str, ...]
    encoded: Choices
    dropped_tokens: int


class MultipleChoicePipeline(BatchedPipeline[ChoiceExample, Choice]):
    """Takes the choice that the model finds likeliest behind the question.

    Example:
        >>> choose = pipeline("choose", choices=["Mars", "Venus"])      # doctest: +SKIP
        >>> choose("Which planet is called red?").text                  # doctest: +SKIP
        'Mars'
    """

    example_type = ChoiceExample
    options_type: ClassVar[type] = ChoiceOptions
    overflows = ("error", "truncate")

    @overload
    def __call__(self, inputs: str | ChoiceExample, **options: Unpack[ChoiceOptions]) -> Choice: ...
    @overload
    def __call__(self, inputs: Many[ChoiceExample], **options: Unpack[ChoiceOptions]) -> list[Choice]: ...
    def __call__(self, inputs: Any, **options: Unpack[ChoiceOptions]) -> Any:
        """Answer one question, or each of a list.

        Args:
            inputs: a question, an example with choices of its own, or a list of them.
            options: see :class:`~gptapps.pipelines.options.ChoiceOptions`.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return self.one_or_many(inputs, options)

    def stream(self, inputs: Iterable[str | ChoiceExample], **options: Unpack[ChoiceOptions]) -> Iterator[Choice]:
        """Answer an iterable of questions lazily and in order, batched inside."""
        return self.run(inputs, options)

    def as_example(self, given: object) -> ChoiceExample:
        """Return ``given`` as an example: a question, or fields in any layout of :func:`choice_fields`."""
        if isinstance(given, str):
            given = {"question": given}
        if isinstance(given, Mapping):
            has_choices = given.get("choices") is not None
            given = choice_fields(given) if has_choices else {k: given[k] for k in given if k not in _OF_CHOICES}
        return super().as_example(given)

    def check_example(self, example: ChoiceExample) -> None:
        """Raise :class:`DataError` if the question or a choice is empty, or a choice comes twice."""
        if not example.question.strip():
            raise DataError("The question of an input is empty: give it some text.")
        _check_choices(example.choices)

    def predict_unordered(
        self, examples: Iterable[ChoiceExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Choice]]:
        """Yield the number of each example and its choice; what prompts have in common is read once for all of them."""
        questions = (self._question(example, options) for example in examples)
        with self.engine.trees.borrow() as tree:
            score = partial(scores_unordered, tree, batch_size=self.setup.batch_size)
            for number, question, (scores,) in gathered(questions, lambda one: (one.encoded,), score):
                yield number, _choice(question, log_likelihoods(scores), options.get("normalize", "none"))

    def _question(self, example: ChoiceExample, options: Mapping[str, Any]) -> _Question:
        choices = choices_for(example, options)
        _check_choices(choices)
        language = self.language_of(example, options, example.question)
        adapter = self.adapter(language, options)
        fields = {"question": example.question, "context": example.context}
        cut = "context" if example.context else "question"
        longest = max(choices, key=lambda choice: len(self.model.tokenizer.encode(choice, special_tokens=False)))

        def render(text: str) -> Prompt:
            return adapter.render({**fields, cut: text})

        fitted = fit(
            fields[cut] or "",
            prompt_length=lambda text: len(self._encoded(render(text), longest)),
            tokenizer=self.model.tokenizer,
            limit=self.model.context_length,
            overflow=options.get("overflow", "error"),
            keep_end=cut == "question",
        )
        (piece,) = fitted.pieces
        return _Question(choices, self.encoded_choices(render(piece.text), choices), fitted.dropped_tokens)

    def _encoded(self, prompt: Prompt, choice: str | None = None) -> list[int]:
        text = prompt.text if choice is None else prompt.text + prompt.answer_prefix + choice
        return self.model.encode(text, special_tokens=prompt.special_tokens)

    def encoded_choices(self, prompt: Prompt, choices: Sequence[str]) -> Choices:
        """Return the ids of a prompt and of each choice behind it."""
        # The prompt alone marks where the choices begin: what they begin with in common counts, too.
        encoded = split_choices([self._encoded(prompt, choice) for choice in choices], self._encoded(prompt))
        return encoded if encoded.text else Choices((self.model.start_id,), encoded.continuations)


_SIZES: Mapping[Normalize, Callable[[str, Sequence[int]], int]] = {
    "none": lambda text, ids: 1,
    "characters": lambda text, ids: len(text),
    "bytes": lambda text, ids: len(text.encode()),
    "tokens": lambda text, ids: len(ids),
}


def choices_for(example: ChoiceExample, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an example's own choices, or those of the options.

    Raises:
        DataError: there are fewer than two.
    """
    choices = example.choices or tuple(options.get("choices", ()))
    if len(choices) < 2:
        raise DataError('A question needs two choices or more: give it some, such as choices=["Mars", "Venus"].')
    return choices


def _check_choices(choices: Sequence[str]) -> None:
    for choice in choices:
        if not choice.strip():
            raise DataError("A choice is empty: give it some text, or leave it out.")
        if choices.count(choice) > 1:
            raise DataError(f"The choice {choice!r} comes more than once: keep one.")


def _choice(question: _Question, likelihoods: Sequence[float], normalize: Normalize) -> Choice:
    size = _SIZES[normalize]
    texts, encoded = question.choices, question.encoded
    sizes = [size(text, ids) for text, ids in zip(texts, encoded.continuations, strict=True)]
    normalized = [likelihood / size for likelihood, size in zip(likelihoods, sizes, strict=True)]
    shares = torch.tensor(normalized, dtype=torch.float64).softmax(0).tolist()
    best = max(range(len(texts)), key=normalized.__getitem__)  # of equals the first
    ranked = sorted(range(len(texts)), key=lambda place: -normalized[place])
    return Choice(
        index=best,
        text=texts[best],
        score=shares[best],
        scores={texts[place]: shares[place] for place in ranked},
        log_likelihoods=dict(zip(texts, likelihoods, strict=True)),
        usage=Usage(
            input_tokens=len(encoded.text),
            output_tokens=sum(len(ids) for ids in encoded.continuations),
            dropped_tokens=question.dropped_tokens,
        ),
    )
