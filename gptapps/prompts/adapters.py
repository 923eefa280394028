"""An example and a task definition become the prompt that suits the model: a chat, or plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gptapps.errors import DataError, OptionError
from gptapps.prompts.languages import language_name
from gptapps.prompts.template import PromptTemplate
from gptapps.registry import suggestion
from gptapps.task_definition import TaskDefinition, shot_problem, template_problem
from gptapps.tokenization.tokenizer import check_text

QUOTES = "\"'“‘「『"
"""What may open a quotation."""

BETWEEN_BLOCKS = "\n\n"
"""What separates preamble, shots and question in plain text."""


class ChatTokenizer(Protocol):
    """What an adapter asks of a tokenizer."""

    @property
    def chat_template(self) -> str | None:
        """Source of the model's chat template; ``None`` where it has none."""

    def render_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        """Return the conversation as text, special tokens spelled out."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is given.

    Attributes:
        text: all of it, chat markup included.
        special_tokens: whether to encode it with special tokens; a chat's text spells them out already.
        answer_prefix: what stands between the text and the answer, as part of the answer: ``" "`` after
            ``"Label:"``, nothing after a chat's header. A label's likelihood is that of prefix + label.
        stop: strings that end the answer, besides the model's own end.
        shots: how many worked examples the text shows; it says so itself, so that no comparison looks at it.
    """

    text: str
    special_tokens: bool
    answer_prefix: str
    stop: tuple[str, ...] = ()
    shots: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class _PlainTokenizer:
    """Stands for a tokenizer that isn't there yet, of a model without a chat template."""

    chat_template: None = None

    def render_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        """Refuse, as a tokenizer without a chat template does; an adapter never asks it to.

        Raises:
            OptionError: always.
        """
        raise OptionError("A model without a chat template renders no conversation.")


class PromptAdapter:
    """Turns the fields of an example into a :class:`Prompt`.

    Args:
        definition: the task.
        tokenizer: decides between chat and plain text, and renders the chat.
        language: language of the prompt, not of the text.
        prompt: a template that replaces the definition's, in chat and plain text alike; in a chat the answer
            then starts with nothing given.
        system: a template that replaces the chat's system message, or in plain text the preamble; an empty one
            removes it.
        shots: worked examples that replace the definition's, with the same keys. By default plain text
            shows those of the definition's shots whose labels and languages are in use, and a chat none; ``()``
            shows none.

    Raises:
        OptionError: there are no prompts in ``language``, a template names an unknown variable, or a shot lacks
            a key.

    Example:
        >>> adapter = PromptAdapter(resolve_task("translate"), tokenizer)  # a base model's tokenizer
        >>> adapter.render({"text": "Thank you.", "source": "en", "target": "fr"}).text[-30:]
        'English: Thank you.\\nFrench:'
    """

    def __init__(
        self,
        definition: TaskDefinition,
        tokenizer: ChatTokenizer,
        *,
        language: str = "en",
        prompt: str | None = None,
        system: str | None = None,
        shots: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        texts = definition.prompt_texts(language)
        self._definition = definition
        self._tokenizer = tokenizer
        self._language = language
        self.is_chat = tokenizer.chat_template is not None and texts.user is not None
        own, key = (texts.user, "user") if self.is_chat else (texts.plain or texts.user, "plain")
        self._body = self._template(own or "", key) if prompt is None else self._option("prompt", prompt, central=True)
        opening, key = (texts.system, "system") if self.is_chat else (texts.preamble, "preamble")
        self._opening = self._template(opening, key) if opening else None
        if system is not None:
            self._opening = self._option("system", system) if system else None
        self._answer_start = (texts.answer_start or "") if self.is_chat and prompt is None else ""
        # jinja2 drops one final line break; whitespace before it means the template brings the prefix itself.
        spaced = bool(prompt and prompt.removesuffix("\n")[-1:].isspace())
        # Behind a quotation mark, as behind a chat's header, an answer begins without a space.
        bare = self.is_chat and (not self._answer_start or self._answer_start[-1] in QUOTES)
        self._answer_prefix = "" if spaced or bare else texts.answer_prefix
        self._stop = texts.chat_stop if self.is_chat else texts.stop
        self._given_shots = shots is not None
        self._shots = self._chosen_shots(shots)

    @classmethod
    def check(
        cls,
        definition: TaskDefinition,
        *,
        language: str,
        prompt: str | None = None,
        system: str | None = None,
        shots: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        """Check what can be checked before there is a tokenizer.

        Raises:
            OptionError, DataError: as the constructor does.
        """
        cls(definition, _PlainTokenizer(), language=language, prompt=prompt, system=system, shots=shots)

    def render(self, fields: Mapping[str, object]) -> Prompt:
        """Return the prompt for one example.

        Args:
            fields: the family's variables. ``labels`` are the labels themselves (their wordings go into the
                prompt), ``source`` and ``target`` are language codes.

        Raises:
            DataError: a field is missing or unknown.
            OptionError: a language has no name here, a shot doesn't fit the labels or languages, or the caller's
                template can't be filled in.
            TaskDefinitionError: the definition's template can't be filled in.
        """
        variables = self._variables(fields)
        rendered = [self._shot(position, shot, variables) for position, shot in enumerate(self._shots, 1)]
        shots = [(self._body.render(question), answer) for question, answer in filter(None, rendered)]
        opening = self._opening.render(variables) if self._opening else ""
        body = self._body.render(variables)
        text = self._chat(opening, shots, body) if self.is_chat else self._plain(opening, shots, body)
        return Prompt(text, not self.is_chat, self._answer_prefix, self._stop, len(shots))

    def render_content_free(self, fields: Mapping[str, object]) -> tuple[Prompt, ...]:
        """Return the prompts of ``fields`` with texts that say nothing in place of theirs.

        They depend on the labels and not on the example, so their scores can be kept from one to the next.

        Args:
            fields: as for :meth:`render`; each text, and the second text of a pair, is replaced.

        Returns:
            One prompt for each text under ``content_free`` in the definition; none where it has none.

        Raises:
            DataError, OptionError, TaskDefinitionError: as :meth:`render` does.
        """
        texts = [name for name in ("text", "text_pair") if fields.get(name) is not None]
        return tuple(self.render({**fields, **dict.fromkeys(texts, empty)}) for empty in self._definition.content_free)

    def wording(self, label: str) -> str:
        """Return how ``label`` is worded in this prompt's language, which is what the model has to answer."""
        return self._definition.wording(label, self._language)

    def _chat(self, opening: str, shots: Sequence[tuple[str, str]], body: str) -> str:
        messages = [{"role": "system", "content": opening}] if opening else []
        for question, answer in shots:
            reply = self._answer_start + self._answer_prefix + answer
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        return self._tokenizer.render_chat([*messages, {"role": "user", "content": body}]) + self._answer_start

    def _plain(self, opening: str, shots: Sequence[tuple[str, str]], body: str) -> str:
        blocks = [question + self._answer_prefix + answer for question, answer in shots]
        return BETWEEN_BLOCKS.join([*([opening] if opening else []), *blocks, body])

    def _variables(self, fields: Mapping[str, object]) -> dict[str, object]:
        family, task = self._definition.family, self._definition.id
        for name in family.required:
            if fields.get(name) is None:
                raise DataError(f"The task {task!r} needs the field {name!r}; give it a value.")
        known = family.required + family.optional
        for name in fields:
            if name not in known:
                raise DataError(
                    f"The task {task!r} has no field {name!r}.{suggestion(name, known)} Fields: {', '.join(known)}."
                )
        variables = {name: fields.get(name) for name in known}
        labels = variables.get("labels")
        if isinstance(labels, Sequence):
            variables["labels"] = [self.wording(str(label)) for label in labels]
        if family.shots == "parallel":
            for side in ("source", "target"):
                code = str(fields[side])
                variables[side], variables[f"{side}_code"] = language_name(code, self._language), code
        return variables

    def _shot(
        self, position: int, shot: Mapping[str, str], variables: Mapping[str, object]
    ) -> tuple[dict[str, object], str] | None:
        family = self._definition.family
        if family.shots == "parallel":
            source, target = str(variables["source_code"]), str(variables["target_code"])
            for code in (source, target):
                if code not in shot:
                    if self._given_shots:
                        raise OptionError(f"Shot {position} has no sentence in {code!r}; add one or leave it out.")
                    return None
            return {**variables, "text": shot[source]}, shot[target]
        # A variable that an input may leave out must not leak from the example into its shots.
        cleared = dict.fromkeys(name for name in family.optional if name not in family.common)
        question = {**variables, **cleared, **{key: shot[key] for key in shot if key in family.variables}}
        answer = shot[family.answer]
        if family.answer != "label":
            return question, answer
        wordings = variables["labels"]
        if isinstance(wordings, list) and self.wording(answer) not in wordings:
            if not self._given_shots:
                return None  # the caller brought other labels than the definition has
            raise OptionError(
                f"Shot {position} has the label {answer!r}, which is not among the labels: {', '.join(wordings)}."
            )
        return question, self.wording(answer)

    def _chosen_shots(self, given: Sequence[Mapping[str, str]] | None) -> tuple[Mapping[str, str], ...]:
        if given is None:
            return () if self.is_chat else self._definition.shots_in(self._language)
        for position, shot in enumerate(given, 1):
            if fault := shot_problem(shot, self._definition.family):  # labels may be the caller's: see _shot
                raise OptionError(f"Shot {position} {fault}.")
            for text in shot.values():
                check_text(text, f"Shot {position}")
        return tuple(shot for shot in given if shot.get("language", self._language) == self._language)

    def _template(self, source: str, key: str) -> PromptTemplate:
        return PromptTemplate(source, f"prompts.{self._language}.{key} of {self._definition.origin}")

    def _option(self, name: str, source: str, *, central: bool = False) -> PromptTemplate:
        check_text(source, f"The option {name}")
        family = self._definition.family
        fault = template_problem(source, family, family.central if central else ())
        if fault:
            raise OptionError(f"The option {name!r} {fault}.")
        return PromptTemplate(source, f"given as the option {name!r}", OptionError)
