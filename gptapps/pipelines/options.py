"""The named, typed options of every pipeline.

Each is a ``TypedDict``: a type checker and an editor know the names and types that a call takes, one check at run
time refuses the others in a sentence, and the command line is made from the same names and descriptions. Given to
``pipeline(...)`` they become the defaults of each call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from gptapps.errors import OptionError
from gptapps.registry import suggestion

_REMEDIES = {
    "missing": "is missing: add it",
    "extra_forbidden": "leave it out, there is no such field",
    "string_type": "give a text",
    **dict.fromkeys(("sequence_str", "is_instance_of"), "give a list"),
    "dict_type": "give a mapping",
    "too_short": "give at least {min_length}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "give a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "give a number"),
    "greater_than": "give a number above {gt}",
    "greater_than_equal": "give a number of at least {ge}",
    "less_than_equal": "give a number of at most {le}",
    "finite_number": "give a finite number",
    "literal_error": "choose {expected}",
}

_MOST_ROWS = 256  # continuations of one input that run at once

Overflow = Literal["error", "truncate", "chunk"]
Normalize = Literal["none", "characters", "bytes", "tokens"]


class Options(TypedDict, total=False):
    """What every pipeline takes."""

    overflow: Annotated[
        Overflow, Field(description="input longer than the model holds: refuse it, cut it off, or work on pieces")
    ]


class PromptOptions(Options, total=False):
    """Options of everything that works through a prompt."""

    language: Annotated[str, Field(description="language of the prompt, en or zh; by default that of the input")]
    prompt: Annotated[str, Field(description="a prompt template instead of the task's, such as '{{ text }} In short:'")]
    system: Annotated[str, Field(description="a system message instead of the task's; an empty one removes it")]


class ShotOptions(PromptOptions, total=False):
    """Options of everything whose prompts can show worked examples."""

    shots: Annotated[
        Sequence[Mapping[str, str]],
        Field(description="worked examples instead of the task's own; an empty list shows none"),
    ]


class ClassificationOptions(ShotOptions, total=False):
    """Options of classification."""

    labels: Annotated[Sequence[str], Field(min_length=2, description="the labels to choose from")]


class MultiLabelOptions(PromptOptions, total=False):
    """Options of choosing every label that fits."""

    labels: Annotated[Sequence[str], Field(min_length=2, description="the labels to choose from")]


class ChoiceOptions(ShotOptions, total=False):
    """Options of multiple choice."""

    choices: Annotated[
        Sequence[str], Field(min_length=2, description="what to choose from, where an input brings no choices")
    ]
    normalize: Annotated[
        Normalize,
        Field(description="what a choice's log-likelihood is divided by, so that short ones have no advantage"),
    ]


class ScoringOptions(Options, total=False):
    """Options of scoring, which has no prompt: a text is scored as it stands."""


class WritingOptions(PromptOptions, total=False):
    """Options of everything that generates text."""

    max_new_tokens: Annotated[int, Field(ge=1, description="the most tokens to generate for an input")]
    temperature: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="0 takes the likeliest token; above, tokens are drawn")
    ]
    top_k: Annotated[int, Field(ge=1, description="draw from the k likeliest tokens")]
    top_p: Annotated[float, Field(gt=0, le=1, description="draw from the likeliest tokens that reach p together")]
    min_p: Annotated[float, Field(ge=0, le=1, description="draw from tokens at least p times as likely as the best")]
    repetition_penalty: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="above 1 discourages tokens that came before")
    ]
    beams: Annotated[int, Field(ge=1, le=_MOST_ROWS, description="width of beam search; 1 is none")]
    length_penalty: Annotated[
        float, Field(allow_inf_nan=False, description="exponent of the length a beam's score is divided by")
    ]
    seed: Annotated[int, Field(description="of the random numbers; the same seed and input give the same text")]
    stop: Annotated[Sequence[str], Field(description="text that ends the output")]


class AnswerOptions(WritingOptions, ShotOptions, total=False):
    """Options of question answering."""


class SummaryOptions(WritingOptions, ShotOptions, total=False):
    """Options of summarization."""

    max_words: Annotated[int, Field(ge=1, description="the most words of a summary (characters, in Chinese)")]


class TranslationOptions(WritingOptions, ShotOptions, total=False):
    """Options of translation."""

    source: Annotated[str, Field(description="language of the input, a code such as en")]
    target: Annotated[str, Field(description="language of the output, a code such as fr")]


class GenerationOptions(WritingOptions, total=False):
    """Options of generation."""

    returns: Annotated[int, Field(ge=1, le=_MOST_ROWS, description="continuations of each input")]


def checked(kind: type, options: Mapping[str, object]) -> dict[str, Any]:
    """Return ``options`` as a plain dictionary if they fit ``kind``, leaving out those that are None.

    Args:
        kind: a ``TypedDict`` above, or a plug-in's own.
        options: name -> value.

    Raises:
        OptionError: an unknown name or a value of the wrong type or range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    known = kind.__annotations__
    for name in given:
        if name not in known:
            raise OptionError(
                f"There is no option {name!r} here.{suggestion(name, known)} Known: {', '.join(sorted(known))}."
            )
    if isinstance(stop := given.get("stop"), str):
        given["stop"] = (stop,)
    try:
        return dict(_adapter(kind).validate_python(given))
    except ValidationError as error:
        raise OptionError(f"The option {first_fault(error)}.") from None


def first_fault(error: ValidationError) -> str:
    """Return where the first mistake is, what stands there and what to do, without a stop.

    Example:
        ``"labels is ['a']: give at least 2"``
    """
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    remedy = _REMEDIES.get(first["type"], first["msg"].lower()).format(**first.get("ctx", {}))
    return f"{place} {remedy}" if first["type"] == "missing" else f"{place} is {_short(first['input'])}: {remedy}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
