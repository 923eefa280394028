"""What a span head's backbone reads: the question, then the context, as one text or in windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import TaskDefinitionError
from gptapps.heads.features import Features
from gptapps.heads.span import places_and_before
from gptapps.pipelines.fitting import fit
from gptapps.pipelines.head_inputs import HeadInputs
from gptapps.pipelines.options import Overflow
from gptapps.task_definition import TaskDefinition
from gptapps.tokenization.batch import TokenBatch

_OVERLAP = 64  # tokens that neighbouring windows share
_MARK = "\ue000"  # stands for the context while what stands before it is looked for; a private character
_PROMPTS = 1024


@dataclass(frozen=True, slots=True)
class SpanInput:
    """A question and a stretch of its context.

    Attributes:
        ids: token ids, up to the stretch's end.
        first: the first token of the stretch.
        offsets: where each token of the stretch begins and ends in the whole context, in code points.
        dropped_tokens: of the context, in no stretch.
    """

    ids: tuple[int, ...]
    first: int
    offsets: tuple[tuple[int, int], ...]
    dropped_tokens: int


class SpanInputs:
    """Makes token ids of questions and contexts, in training and in use alike.

    Args:
        definition: whose plain prompts are read, up to the context's end.
        model: whose tokenizer and context length they have to fit.
        limit: the most tokens of an input; None for what the model holds.

    Attributes:
        limit: the most tokens of an input.
    """

    def __init__(self, definition: TaskDefinition, model: LanguageModel, *, limit: int | None = None) -> None:
        self._definition, self._model = definition, model
        self.limit = min(limit or model.context_length, model.context_length)
        self.head_inputs = HeadInputs(definition, model)
        self._before = lru_cache(maxsize=_PROMPTS)(self._made_before)

    def encode(
        self, question: str, context: str, *, language: str | None = None, overflow: Overflow = "chunk"
    ) -> list[SpanInput]:
        """Return the context whole, or in windows that overlap.

        Raises:
            InputTooLongError: it doesn't fit, with overflow="error", or the question alone doesn't.
        """
        before = self._before(question, language or self.head_inputs.language_of(question + context))
        tokenizer = self._model.tokenizer
        fitted = fit(
            context,
            prompt_length=lambda text: len(tokenizer.encode(before + text)),
            tokenizer=tokenizer,
            limit=self.limit,
            overflow=overflow,
            overlap=_OVERLAP,
        )
        return [self._input(before, piece.text, piece.start, fitted.dropped_tokens) for piece in fitted.pieces]

    def _input(self, before: str, text: str, start: int, dropped_tokens: int) -> SpanInput:
        ids, offsets = self._model.tokenizer.encode(before + text), self._model.tokenizer.offsets(before + text)
        first = next(place for place, (_, end) in enumerate(offsets) if end > len(before))
        moved = ((max(begin - len(before), 0) + start, end - len(before) + start) for begin, end in offsets[first:])
        return SpanInput(tuple(ids), first, tuple(moved), dropped_tokens)

    def _made_before(self, question: str, language: str) -> str:
        rendered = self.head_inputs.adapter(language).render({"question": question, "context": _MARK}).text
        before, mark, _ = rendered.partition(_MARK)
        if not mark or question not in before:
            raise TaskDefinitionError(
                f"The task definition {self._definition.origin} doesn't show the question before the context, and a "
                "span head needs it there: put it in front in the plain prompts."
            )
        return before


@torch.inference_mode()
def read_places(model: LanguageModel, inputs: Sequence[SpanInput], features: Features) -> list[tuple[Tensor, Tensor]]:
    """Return :func:`~gptapps.heads.span.places_and_before` of each input, its context's tokens being the places.

    Args:
        model: whose backbone reads them, in one batch.
        inputs: which.
        features: L layers; poolings aren't looked at.
    """
    batch = TokenBatch.from_lists([one.ids for one in inputs], device=model.backbone.device)
    lengths = [len(one.ids) for one in inputs]
    layers = dict(model.backbone.layer_states(batch.ids, features.layers, lengths=lengths))
    states = torch.stack([layers[layer] for layer in features.layers], 2).float().cpu()  # (B, T, L, C)
    return [places_and_before(states[row, : len(one.ids)], one.first) for row, one in enumerate(inputs)]


def trimmed(context: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without the space around it, which tokens carry."""
    while start < end and context[start].isspace():
        start += 1
    while start < end and context[end - 1].isspace():
        end -= 1
    return start, end
