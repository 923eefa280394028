"""What the task families have of their own: prompt variables, shots, keys and defaults.

A family is a registered pipeline. The built-in ones are described here; a definition whose pipeline comes from
a plug-in states its prompt variables itself, under ``fields``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

SAMPLING: Final = (
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "beams",
    "length_penalty",
)


@dataclass(frozen=True, slots=True)
class Family:
    """What a definition of one pipeline may say.

    Attributes:
        required: the prompt variables every input brings.
        optional: the prompt variables an input may leave out; they are then ``None``.
        common: those of the optional ones that hold for shots as for the input, where a shot doesn't say.
        derived: the prompt variables worked out from the others.
        central: the variables that a ``user`` or ``plain`` template has to name.
        shots: ``"fields"``: a shot holds ``central`` and ``answer``; ``"parallel"``: one sentence in several
            languages, keyed by their codes; ``"none"``: the family shows no shots.
        answer: the key that holds the answer in a shot of fields.
        keys: the top-level keys that only some families have.
        defaults: the options that ``[defaults]`` may set; ``None`` for all of them.
        behaviours: named behaviours and their values, the first being the default; ``None`` for any.

    Example:
        >>> FAMILIES["question_answering"].variables
        ('question', 'context')
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    central: tuple[str, ...] = ("text",)
    shots: Literal["fields", "parallel", "none"] = "fields"
    answer: str = "answer"
    keys: tuple[str, ...] = ()
    defaults: tuple[str, ...] | None = ("overflow",)
    behaviours: Mapping[str, tuple[str, ...]] | None = field(default_factory=lambda: MappingProxyType({}))

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable a template of this family may name."""
        return self.required + self.optional + self.derived


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "classification": Family(
            required=("text", "labels"),
            optional=("text_pair",),
            answer="label",
            keys=("labels", "label_words", "content_free"),
        ),
        "multi_label": Family(
            required=("text", "labels"),
            optional=("text_pair",),
            shots="none",
            keys=("labels", "label_words", "content_free"),
            behaviours=MappingProxyType({"no_label": ("never", "possible")}),
        ),
        "question_answering": Family(
            required=("question", "context"),
            central=("question", "context"),
            defaults=("overflow", *SAMPLING),
            behaviours=MappingProxyType({"answer": ("extractive",)}),
        ),
        "multiple_choice": Family(
            required=("question",),
            optional=("context",),
            central=("question",),
            defaults=("overflow", "normalize"),
        ),
        "translation": Family(
            required=("text", "source", "target"),
            derived=("source_code", "target_code"),
            shots="parallel",
            defaults=("overflow", "source", "target", *SAMPLING),
        ),
        "summarization": Family(
            required=("text",),
            optional=("max_words",),
            common=("max_words",),
            answer="summary",
            defaults=("overflow", "max_words", *SAMPLING),
        ),
        "generation": Family(required=("text",), shots="none", defaults=("overflow", *SAMPLING)),
        "scoring": Family(required=("text",), shots="none"),
    }
)
