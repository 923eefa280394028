"""What a trained head's backbone reads of an example: the task's plain prompt, up to where the answer would begin.

The prompt tells the backbone what is asked, and its last token stands where a model would answer. It is the same for
models with and without a chat template, so that a head reads as few tokens as it can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gptapps.decoding.language_model import LanguageModel
from gptapps.pipelines.fitting import fit
from gptapps.pipelines.languages import prompt_language
from gptapps.pipelines.options import Overflow
from gptapps.prompts.adapters import Prompt, PromptAdapter
from gptapps.task_definition import TaskDefinition

_LANGUAGES = 8


@dataclass(frozen=True, slots=True)
class HeadInput:
    """Token ids, at least one, and how many of the example's tokens are not among them."""

    ids: tuple[int, ...]
    dropped_tokens: int


class HeadInputs:
    """Makes token ids of examples, in training and in use alike.

    Args:
        definition: whose plain prompts are read.
        model: whose tokenizer and context they have to fit.

    Attributes:
        adapter: language -> what renders the prompts.
    """

    def __init__(self, definition: TaskDefinition, model: LanguageModel) -> None:
        self._definition = definition
        self._model = model
        self.adapter = lru_cache(maxsize=_LANGUAGES)(self._make_adapter)

    def encode(
        self,
        fields: Mapping[str, object],
        cut: str,
        *,
        language: str | None = None,
        overflow: Overflow = "truncate",
        continuation: str = "",
    ) -> HeadInput:
        """Return what is read for an example.

        Args:
            fields: the variables of the task's prompts.
            cut: the field that is cut off at its end where all of them are too long.
            language: of the prompt; by default what the field ``cut`` is written in.
            overflow: ``"truncate"`` or ``"error"``.
            continuation: what stands behind the prompt, such as a choice.

        Raises:
            InputTooLongError: it doesn't fit, or can't be made to.
            OptionError: the task has no prompt in that language.
        """
        text = str(fields[cut] or "")
        adapter = self.adapter(language or self.language_of(text))

        def encoded(piece: str) -> list[int]:
            prompt = adapter.render({**fields, cut: piece})
            return self._encoded(prompt, continuation)

        fitted = fit(
            text,
            prompt_length=lambda piece: len(encoded(piece)),
            tokenizer=self._model.tokenizer,
            limit=self._model.context_length,
            overflow=overflow,
        )
        (piece,) = fitted.pieces
        return HeadInput(tuple(encoded(piece.text)) or (self._model.start_id,), fitted.dropped_tokens)

    def _encoded(self, prompt: Prompt, continuation: str) -> list[int]:
        text = prompt.text + prompt.answer_prefix + continuation if continuation else prompt.text
        return self._model.tokenizer.encode(text, special_tokens=prompt.special_tokens)

    def language_of(self, text: str) -> str:
        """Return the language of the prompts for a text: its own, where the task has prompts in that."""
        language = prompt_language(text)
        return language if language in self._definition.languages else self._definition.languages[0]

    def _make_adapter(self, language: str) -> PromptAdapter:
        return PromptAdapter(self._definition, _Plain(), language=language, shots=())


class _Plain:
    """A tokenizer that doesn't chat, so that prompts come out as plain text."""

    chat_template: str | None = None

    def render_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        raise TypeError("a plain prompt is no conversation")
