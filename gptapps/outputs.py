"""What the pipelines return: one frozen record a task, each with its token usage.

``output.model_dump_json()`` is the line that ``--json`` writes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

FinishReason = Literal["end", "stop", "length"]


class Record(BaseModel):
    """Base of examples and outputs: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)


class Usage(Record):
    """Tokens of one call for one input.

    Attributes:
        input_tokens: read by the model, prompt and all chunks together.
        output_tokens: generated or scored.
        dropped_tokens: of the input, cut off because the model can't hold them; 0 unless overflow="truncate".
        chunks: pieces that the input was cut into; 1 unless overflow="chunk".
    """

    input_tokens: int
    output_tokens: int
    dropped_tokens: int = 0
    chunks: int = 1


class Output(Record):
    """Base of every task's output."""

    usage: Usage


class Classification(Output):
    """A label for a text.

    Attributes:
        label: the most likely one.
        score: its probability among the labels.
        scores: the probability of every label, most likely first; they sum to 1.
    """

    label: str
    score: float
    scores: dict[str, float]


class Labelling(Output):
    """Every label that fits a text.

    Attributes:
        labels: those that fit, in the order in which they were given; there may be none.
        scores: of every label, 0 to 1, highest first; above 0.5 it fits. They don't sum to 1.
    """

    labels: tuple[str, ...]
    scores: dict[str, float]


class Answer(Output):
    """An answer to a question.

    Attributes:
        text: the answer; ``context[start:end] == text``.
        score: geometric mean of the probabilities that the model gave to the answer's tokens, 0 to 1.
        start, end: code-point offsets in the context.
    """

    text: str
    score: float
    start: int
    end: int


class Choice(Output):
    """The choice that answers a question.

    Attributes:
        index: its number among the choices, from 0.
        text: the choice itself.
        score: its share of the scores.
        scores: every choice's share, highest first; the softmax of the log-likelihoods after normalisation.
        log_likelihoods: of every choice in nats, before normalisation and in the order given; empty where a trained
            head has chosen, which judges choices in another way.
    """

    index: int
    text: str
    score: float
    scores: dict[str, float]
    log_likelihoods: dict[str, float]


class Translation(Output):
    """A translation and the languages it goes between, as codes such as "en"."""

    text: str
    source: str
    target: str
    finish_reason: FinishReason


class Summary(Output):
    """A summary; ``finish_reason`` is "length" where max_new_tokens or max_words cut it off."""

    text: str
    finish_reason: FinishReason


class Generation(Output):
    """A continuation, with the further ones where several were asked for.

    Attributes:
        text: the first or best continuation.
        texts: all of them, ``text`` first.
        finish_reason: of the first.
        log_likelihood: of the first, in nats, under the model's own distribution.
    """

    text: str
    texts: tuple[str, ...]
    finish_reason: FinishReason
    log_likelihood: float


class Likelihood(Output):
    """How likely a text is, given its context.

    Attributes:
        log_likelihood: natural logarithm of the text's probability.
        perplexity: exp(-log_likelihood / tokens).
        bits_per_byte: -log2 of the probability, for each UTF-8 byte of the text.
        tokens: scored tokens of the text.
        bytes: UTF-8 bytes of the text.
        greedy: whether every token was the likeliest in its place, so that greedy decoding behind the context gives
            this very text.
        best: where continuations were given, the number of the likeliest; else None.
        continuations: the log-likelihood of each continuation, in their order.
    """

    log_likelihood: float
    perplexity: float
    bits_per_byte: float
    tokens: int
    bytes: int
    greedy: bool
    best: int | None = None
    continuations: tuple[float, ...] = ()
