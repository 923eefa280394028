"""The schema of a task definition: what a TOML file may say, and what the rest of gptapps reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gptapps.errors import OptionError
from gptapps.registry import suggestion
from gptapps.task_definition.families import FAMILIES, Family

NAME_PATTERN = r"^[^\W_][\w-]*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
Text = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PromptTexts(_Table):
    """The prompts of one language: one for models with a chat template, one for models without.

    Attributes:
        user: template of the user's turn in a chat. Without it, chat models get ``plain`` too, as it stands.
        plain: template for models without a chat template. Without it they get ``user`` as plain text.
        system: template of the chat's system message.
        preamble: template of what stands once above the shots and the plain prompt.
        answer_start: how the model's turn in a chat begins, such as ``"Label:"``; the answer goes on from there.
        answer_prefix: what stands between the answer and the plain prompt or ``answer_start``. A label's
            likelihood depends on whether its first token carries the leading space, so the prefix belongs to
            the answer, not to the prompt.
        stop: strings that end the answer to a plain prompt.
        chat_stop: strings that end the answer in a chat, besides the model's own end of turn.
        needs: what the model must be capable of to be asked in this language.
    """

    user: Text | None = None
    plain: Text | None = None
    system: Text | None = None
    preamble: Text | None = None
    answer_start: Text | None = None
    answer_prefix: str = " "
    stop: tuple[Text, ...] = ()
    chat_stop: tuple[Text, ...] = ()
    needs: tuple[Name, ...] = ()


class Defaults(_Table):
    """Values of options that the caller leaves out; ``None`` leaves them to the pipeline.

    Attributes:
        overflow: what happens to an input longer than the model can hold.
        normalize: what a choice's log-likelihood is divided by.
        max_words: length asked of a summary, in words (in Chinese: characters).
        max_new_tokens: most tokens to generate.
        temperature: 0 is greedy.
        top_k: sample among the k likeliest tokens.
        top_p: sample among the likeliest tokens that hold this share of the probability.
        min_p: leave out tokens less likely than this share of the likeliest one.
        repetition_penalty: above 1 discourages tokens that occurred already.
        beams: width of beam search; 1 is none.
        length_penalty: exponent of the length a beam's score is divided by.
        source: code of the language to translate from.
        target: code of the language to translate into.
    """

    overflow: Literal["error", "truncate", "chunk"] | None = None
    normalize: Literal["none", "characters", "bytes", "tokens"] | None = None
    max_words: Annotated[int, Field(ge=1)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    beams: Annotated[int, Field(ge=1)] | None = None
    length_penalty: float | None = None
    source: LanguageCode | None = None
    target: LanguageCode | None = None


class TaskDefinition(_Table):
    """One task, read from a TOML file by :func:`load_task_definition`.

    Attributes:
        schema_version: the version of this schema.
        id: the task's name, which is the file's stem.
        origin: the file it was read from, for messages.
        pipeline: the registered pipeline that runs it; it decides the family.
        head: the registered head the pipeline puts on the backbone.
        aliases: other names of the task.
        summary: one line for people.
        needs: what the model must be capable of, whatever the language.
        metrics: registered metrics an evaluation reports, the most telling one first.
        labels: the labels of a classification; empty where the caller brings them.
        label_words: language -> label -> its wording in that language's prompts and answers.
        content_free: texts that say nothing, such as ``"..."``. A label's score is how much likelier it is after
            the text than, on average, after these; so a model's liking for one word cancels out (Zhao et al.
            2021, "Calibrate before use"; Holtzman et al. 2021, "Surface form competition"). Empty: its plain
            likelihood.
        fields: the prompt variables, where the pipeline comes from a plug-in.
        defaults: values of options the caller leaves out.
        behaviours: named behaviours of the pipeline.
        prompts: language code -> the prompts of that language.
        shots: worked examples, shown in plain prompts. ``language`` ties one to a language.

    Example:
        >>> from gptapps.task_catalog import resolve_task
        >>> resolve_task("sentiment").wording("positive", "zh")
        '正面'
    """

    schema_version: Literal[1]
    id: Name
    origin: str
    pipeline: Name
    head: Name = "language_model"
    aliases: tuple[Name, ...] = ()
    summary: Text
    needs: tuple[Name, ...] = ()
    metrics: tuple[Name, ...] = ()
    labels: tuple[Text, ...] = ()
    label_words: Mapping[LanguageCode, Mapping[str, Text]] = Field(default_factory=dict)
    content_free: tuple[str, ...] = ()
    fields: tuple[Name, ...] = ()
    defaults: Defaults = Defaults()
    behaviours: Mapping[Name, Name] = Field(default_factory=dict)
    prompts: Annotated[Mapping[LanguageCode, PromptTexts], Field(min_length=1)]
    shots: tuple[Mapping[Name, Text], ...] = ()

    @property
    def family(self) -> Family:
        """What this definition's pipeline allows; a plug-in's pipeline has the variables under ``fields``."""
        return FAMILIES.get(self.pipeline) or Family(
            required=self.fields or ("text",),
            central=self.fields or ("text",),
            keys=("fields", "labels", "label_words", "content_free"),
            defaults=None,
            behaviours=None,
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages it has prompts in, in the order of the file."""
        return tuple(self.prompts)

    def prompt_texts(self, language: str) -> PromptTexts:
        """Return the prompts of ``language``.

        Raises:
            OptionError: it has none; the message names those it has.
        """
        if language not in self.prompts:
            raise OptionError(
                f"The task {self.id!r} has no prompts in the language {language!r}."
                f"{suggestion(language, self.prompts)} It has: {', '.join(self.prompts)}."
            )
        return self.prompts[language]

    def needs_in(self, language: str) -> tuple[str, ...]:
        """Return what a model must be capable of to do the task with the prompts of ``language``.

        Raises:
            OptionError: it has no prompts in that language.
        """
        return tuple(dict.fromkeys(self.needs + self.prompt_texts(language).needs))

    def wording(self, label: str, language: str) -> str:
        """Return how ``label`` is worded in prompts of ``language``; a label without wording stands as it is."""
        return self.label_words.get(language, {}).get(label, label)

    def shots_in(self, language: str) -> tuple[Mapping[str, str], ...]:
        """Return the shots for prompts of ``language``: those tied to it and those tied to none."""
        return tuple(shot for shot in self.shots if shot.get("language", language) == language)

    def behaviour(self, name: str) -> str | None:
        """Return the value of the behaviour ``name``: what the file says, else the family's default."""
        choices = (self.family.behaviours or {}).get(name, ())
        return self.behaviours.get(name, choices[0] if choices else None)
