"""Zero-shot classification: the likelihood of every label behind one encoding of the text.

Where the definition lists texts that say nothing, a label counts for how much likelier it is behind the text than
behind those, so that a label the model likes anyway has no advantage (contextual calibration, Zhao et al. 2021).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, overload

import torch
from typing_extensions import Unpack

from gptapps.decoding.choice_scoring import Choices, score_choices, split_choices
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError
from gptapps.examples import ClassificationExample
from gptapps.outputs import Classification, Usage
from gptapps.pipelines.base import Many, Pipeline, Setup
from gptapps.pipelines.fitting import Fitted, fit
from gptapps.pipelines.options import ClassificationOptions
from gptapps.prompts.adapters import Prompt, PromptAdapter
from gptapps.task_definition import TaskDefinition

_HANDICAPS = 256  # of labels and prompts that were used lately


@dataclass(frozen=True, slots=True)
class _Ballot:
    """One example on its way: its labels, and for each piece of its text the choices to score.

    ``handicap`` is what each label's log-likelihood is behind texts that say nothing.
    """

    labels: tuple[str, ...]
    choices: tuple[Choices, ...]
    handicap: torch.Tensor
    dropped_tokens: int


class ClassificationPipeline(Pipeline[ClassificationExample, Classification]):
    """Chooses the label that the model finds likeliest behind the text.

    Example:
        >>> pipeline("classify", labels=["urgent", "routine"])("The server is down.").label      # doctest: +SKIP
    """

    example_type = ClassificationExample
    options_type = ClassificationOptions

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        super().__init__(definition, model, setup)
        self._handicap = lru_cache(maxsize=_HANDICAPS)(self._make_handicap)

    @overload
    def __call__(
        self, inputs: str | ClassificationExample, **options: Unpack[ClassificationOptions]
    ) -> Classification: ...
    @overload
    def __call__(
        self, inputs: Many[ClassificationExample], **options: Unpack[ClassificationOptions]
    ) -> list[Classification]: ...
    def __call__(self, inputs: Any, **options: Unpack[ClassificationOptions]) -> Any:
        """Label one text, or each of a list.

        Args:
            inputs: a text, an example (of a pair, too), or a list of them.
            options: see :class:`~gptapps.pipelines.options.ClassificationOptions`.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return self.one_or_many(inputs, options)

    def stream(
        self, inputs: Iterable[str | ClassificationExample], **options: Unpack[ClassificationOptions]
    ) -> Iterator[Classification]:
        """Label an iterable lazily and in order, batched inside."""
        return self.run(inputs, options)

    def predict(
        self, examples: Iterable[ClassificationExample], options: Mapping[str, Any]
    ) -> Iterator[Classification]:
        """Yield the labels of each example; a text in pieces gets the mean of their probabilities."""
        waiting: deque[_Ballot] = deque()

        def choices() -> Iterator[Choices]:
            for example in examples:
                waiting.append(self._ballot(example, options))
                yield from waiting[-1].choices

        scores: list[torch.Tensor] = []
        for likelihoods in score_choices(
            self.model, choices(), batch_size=self.setup.batch_size, max_cache_bytes=self.setup.max_cache_bytes
        ):
            gains = torch.tensor(likelihoods, dtype=torch.float64) - waiting[0].handicap
            scores.append(gains.softmax(0))
            if len(scores) == len(waiting[0].choices):
                yield _classification(waiting.popleft(), torch.stack(scores).mean(0).tolist())
                scores = []

    def _labels(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        labels = tuple(options.get("labels", self.definition.labels))
        if not labels:
            raise OptionError('Classification needs labels to choose from: give labels, such as ["urgent", "routine"].')
        if len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
            raise OptionError("Labels have to differ from each other and may not be empty.")
        return labels

    def _ballot(self, example: ClassificationExample, options: Mapping[str, Any]) -> _Ballot:
        labels = self._labels(options)
        language = self.language_of(example, options, example.text)
        adapter = self.adapter(language, options)
        wordings = [adapter.wording(label) for label in labels]
        longest = max(wordings, key=lambda wording: len(self.model.tokenizer.encode(wording, special_tokens=False)))
        fields = {"text": example.text, "text_pair": example.text_pair, "labels": labels}

        def render(text: str) -> Prompt:
            return adapter.render(fields | {"text": text})

        fitted: Fitted = fit(
            example.text,
            prompt_length=lambda text: len(self._encoded(render(text), longest)),
            tokenizer=self.model.tokenizer,
            limit=self.model.context_length,
            overflow=options.get("overflow", "truncate"),
        )
        choices = tuple(self._choices(render(piece.text), wordings) for piece in fitted.pieces)
        handicap = self._handicap(adapter, labels, example.text_pair is not None)
        return _Ballot(labels, choices, handicap, fitted.dropped_tokens)

    def _make_handicap(self, adapter: PromptAdapter, labels: tuple[str, ...], is_pair: bool) -> torch.Tensor:
        """Return each label's mean log-likelihood behind texts that say nothing."""
        wordings = [adapter.wording(label) for label in labels]
        fields = {"text": "", "text_pair": "" if is_pair else None, "labels": labels}
        choices = [self._choices(prompt, wordings) for prompt in adapter.render_content_free(fields)]
        scores = list(score_choices(self.model, choices, max_cache_bytes=self.setup.max_cache_bytes))
        empty = torch.zeros(len(wordings), dtype=torch.float64)
        return torch.tensor(scores, dtype=torch.float64).mean(0) if scores else empty

    def _encoded(self, prompt: Prompt, wording: str) -> list[int]:
        text = prompt.text + prompt.answer_prefix + wording
        return self.model.tokenizer.encode(text, special_tokens=prompt.special_tokens)

    def _choices(self, prompt: Prompt, wordings: Sequence[str]) -> Choices:
        encoded = [self._encoded(prompt, wording) for wording in wordings]
        if _one_begins_another(encoded):  # "New" would always beat "New York": let the end of the label count
            encoded = [[*ids, *self.model.tokenizer.eos_ids[:1]] for ids in encoded]
        return split_choices(encoded)


def _one_begins_another(encoded: Sequence[Sequence[int]]) -> bool:
    ordered = sorted(tuple(ids) for ids in encoded)
    return any(after[: len(before)] == before for before, after in pairwise(ordered))


def _classification(ballot: _Ballot, probabilities: Sequence[float]) -> Classification:
    ranked = sorted(zip(ballot.labels, probabilities, strict=True), key=lambda entry: -entry[1])
    return Classification(
        label=ranked[0][0],
        score=ranked[0][1],
        scores=dict(ranked),
        usage=Usage(
            input_tokens=sum(len(choices.text) for choices in ballot.choices),
            output_tokens=sum(len(ids) for choices in ballot.choices for ids in choices.continuations),
            dropped_tokens=ballot.dropped_tokens,
            chunks=len(ballot.choices),
        ),
    )
