"""What the pipelines that generate text share: from examples to requests, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.ordering import gathered
from gptapps.decoding.request import Completion, Request
from gptapps.decoding.sampling import Sampling
from gptapps.errors import OptionError
from gptapps.outputs import Usage
from gptapps.pipelines.base import Pipeline
from gptapps.pipelines.fitting import Piece, fit
from gptapps.prompts.adapters import Prompt

DEFAULT_NEW_TOKENS = 128

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Draft:
    """One example on its way: the pieces of its input, a request for each, and what was dropped.

    Attributes:
        example: as it came.
        language: of its prompts.
        pieces, requests: the same number of each.
        dropped_tokens: of the input.
    """

    example: Any
    language: str
    pieces: tuple[Piece, ...]
    requests: tuple[Request, ...]
    dropped_tokens: int

    def usage(self, completions: Sequence[Sequence[Completion]]) -> Usage:
        """Count the tokens of the requests and their continuations."""
        return Usage(
            input_tokens=sum(len(request.tokens) for request in self.requests),
            output_tokens=sum(len(one.tokens) for returned in completions for one in returned),
            dropped_tokens=self.dropped_tokens,
            chunks=len(self.pieces),
        )


def encode_prompt(model: LanguageModel, prompt: Prompt) -> tuple[int, ...]:
    """Return the prompt's ids; a text without any becomes the token that begins texts."""
    ids = model.encode(prompt.text, special_tokens=prompt.special_tokens)
    return tuple(ids) or (model.start_id,)


def sampling_from(options: Mapping[str, Any]) -> Sampling:
    """Return the sampling that options ask for."""
    names = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
    return Sampling(**{name: options[name] for name in names if name in options})


def request_from(tokens: tuple[int, ...], prompt: Prompt, options: Mapping[str, Any]) -> Request:
    """Return the request that a prompt and options make."""
    return Request(
        tokens=tokens,
        max_new_tokens=options.get("max_new_tokens", DEFAULT_NEW_TOKENS),
        sampling=sampling_from(options),
        stop=(*prompt.stop, *options.get("stop", ())),
        seed=options.get("seed", 0),
        returns=options.get("returns", 1),
        beams=options.get("beams", 1),
        length_penalty=options.get("length_penalty", 1.0),
    )


def require_room(model: LanguageModel, max_new_tokens: int) -> None:
    """Refuse so many tokens of output that a model's context holds no prompt beside them.

    Raises:
        OptionError: says how many it holds.
    """
    if max_new_tokens >= model.context_length:
        raise OptionError(
            f"max_new_tokens is {max_new_tokens}, but the model holds {model.context_length} tokens for prompt and "
            "output together: lower max_new_tokens."
        )


def draft(
    pipeline: Pipeline[Any, Any],
    example: Any,
    language: str,
    text: str,
    render: Callable[[str], Prompt],
    options: Mapping[str, Any],
    *,
    overlap: int = 0,
    keep_end: bool = False,
) -> Draft:
    """Fit an example's text to the model and make a request of each piece.

    Args:
        pipeline: whose model and task it is.
        example: as it came.
        language: of the prompts.
        text: the part of the input that may be cut.
        render: the whole prompt around a text.
        options: merged options.
        overlap, keep_end: see :func:`gptapps.pipelines.fitting.fit`.

    Raises:
        InputTooLongError: see there.
        OptionError: max_new_tokens leaves no room for a prompt.
    """
    model = pipeline.model
    room = options.get("max_new_tokens", DEFAULT_NEW_TOKENS)
    if room >= model.context_length:
        render(text)  # a mistake in the input itself comes first
        require_room(model, room)
    fitted = fit(
        text,
        prompt_length=lambda piece: len(encode_prompt(model, render(piece))),
        tokenizer=model.tokenizer,
        limit=model.context_length - room,
        overflow=options.get("overflow", "error"),
        overlap=overlap,
        keep_end=keep_end,
    )
    prompts = [render(piece.text) for piece in fitted.pieces]
    requests = tuple(request_from(encode_prompt(model, prompt), prompt, options) for prompt in prompts)
    return Draft(example, language, fitted.pieces, requests, fitted.dropped_tokens)


def complete_drafts(
    engine: Engine, drafts: Iterable[Draft]
) -> Iterator[tuple[int, Draft, list[tuple[Completion, ...]]]]:
    """Yield each draft's number, itself and its requests' continuations, as they are done, batched across drafts."""
    return gathered(drafts, lambda one: one.requests, engine.complete_unordered)


def with_constraint(one: Draft, constraint: Callable[[Piece], Any]) -> Draft:
    """Return the draft with each request held to what ``constraint`` makes of its piece."""
    requests = tuple(
        replace(request, constraint=constraint(piece)) for piece, request in zip(one.pieces, one.requests, strict=True)
    )
    return replace(one, requests=requests)
