"""Zero-shot classification: the likelihood of every label behind one encoding of the text.

Where the definition lists texts that say nothing, a label counts for how much likelier it is behind the text than
behind those, so that a label the model likes anyway has no advantage (contextual calibration, Zhao et al. 2021).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, overload

import torch
from typing_extensions import Unpack

from gptapps.decoding.choice_scoring import Choices, choice_scores, log_likelihoods, scores_unordered, split_choices
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.ordering import gathered
from gptapps.decoding.prefix_tree import PrefixTree
from gptapps.errors import OptionError
from gptapps.examples import ClassificationExample
from gptapps.outputs import Classification, Usage
from gptapps.pipelines.base import Many, Setup
from gptapps.pipelines.batched import BatchedPipeline
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


class ClassificationPipeline(BatchedPipeline[ClassificationExample, Classification]):
    """Chooses the label that the model finds likeliest behind the text.

    Example:
        >>> pipeline("classify", labels=["urgent", "routine"])("The server is down.").label      # doctest: +SKIP
    """

    example_type = ClassificationExample
    options_type: ClassVar[type] = ClassificationOptions

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        super().__init__(definition, model, setup)
        self._handicaps: dict[tuple[PromptAdapter, tuple[str, ...], bool], torch.Tensor] = {}

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

    def predict_unordered(
        self, examples: Iterable[ClassificationExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Classification]]:
        """Yield the number and the labels of each example; pieces of a text give the mean of their probabilities."""
        with self.engine.trees.borrow() as tree:
            ballots = (self._ballot(tree, example, options) for example in examples)
            score = partial(scores_unordered, tree, batch_size=self.setup.batch_size)
            for number, ballot, pieces in gathered(ballots, lambda one: one.choices, score):
                likelihoods = [log_likelihoods(scores) for scores in pieces]
                gains = torch.tensor(likelihoods, dtype=torch.float64) - ballot.handicap  # (pieces, labels)
                shares = gains.softmax(1).mean(0)
                yield number, _classification(ballot, shares.tolist())

    @classmethod
    def check_call(cls, definition: TaskDefinition, options: Mapping[str, Any]) -> None:
        """Refuse to choose among no labels, or labels that can't be told apart."""
        labels = options.get("labels", definition.labels)
        if not labels:
            raise OptionError('Classification needs labels to choose from: give labels, such as ["urgent", "routine"].')
        if len({label.strip() for label in labels}) < len(labels) or not all(label.strip() for label in labels):
            raise OptionError("Labels have to differ from each other and may not be empty.")

    def _ballot(self, tree: PrefixTree, example: ClassificationExample, options: Mapping[str, Any]) -> _Ballot:
        labels = tuple(options.get("labels", self.definition.labels))
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
        choices = tuple(self.encoded_choices(render(piece.text), wordings) for piece in fitted.pieces)
        handicap = self._handicap(tree, adapter, labels, example.text_pair is not None)
        return _Ballot(labels, choices, handicap, fitted.dropped_tokens)

    def _handicap(
        self, tree: PrefixTree, adapter: PromptAdapter, labels: tuple[str, ...], is_pair: bool
    ) -> torch.Tensor:
        """Return each label's mean log-likelihood behind texts that say nothing; the latest ones are kept."""
        key = adapter, labels, is_pair
        if key not in self._handicaps:
            while len(self._handicaps) >= _HANDICAPS:
                self._handicaps.pop(next(iter(self._handicaps)), None)
            self._handicaps[key] = self._make_handicap(tree, adapter, labels, is_pair)
        return self._handicaps[key]

    def _make_handicap(
        self, tree: PrefixTree, adapter: PromptAdapter, labels: tuple[str, ...], is_pair: bool
    ) -> torch.Tensor:
        wordings = [adapter.wording(label) for label in labels]
        fields = {"text": "", "text_pair": "" if is_pair else None, "labels": labels}
        choices = [self.encoded_choices(prompt, wordings) for prompt in adapter.render_content_free(fields)]
        scores = [log_likelihoods(one) for one in choice_scores(tree, choices)]
        empty = torch.zeros(len(wordings), dtype=torch.float64)
        return torch.tensor(scores, dtype=torch.float64).mean(0) if scores else empty

    def _encoded(self, prompt: Prompt, wording: str) -> list[int]:
        text = prompt.text + prompt.answer_prefix + wording
        return self.model.encode(text, special_tokens=prompt.special_tokens)

    def encoded_choices(self, prompt: Prompt, wordings: Sequence[str]) -> Choices:
        """Return the ids of a prompt and of each label's wording behind it, split where the labels first differ."""
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
