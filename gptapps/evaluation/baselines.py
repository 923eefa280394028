"""What any model has to beat: answers that need no model, in the form of a model's outputs.

==================  ==========================================================================================
majority_label      the label that most of the examples have, with the labels' shares as probabilities
lead_1, lead_3      the first sentence of a text, the first three
copy_source         the sentence to translate, untranslated
first_choice        the first choice, each being as likely as the others
longest_choice      the longest choice, as the right answer often is the one worded with most care
longest_name        of the context's names that the question doesn't hold the longest: capitalised words in a
                    row; in Chinese a quoted or foreign name, else the longest clause
nearest_sentence    the sentence of the context with the most words (Chinese: characters) of the question
compression         the bits that zlib needs for a text, each byte counted as a token
==================  ==========================================================================================

The majority label is counted on the very examples that are judged, so it is the best that a constant answer can do.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptapps.errors import OptionError
from gptapps.evaluation.evaluators import Evaluator, Gold
from gptapps.metrics.segmentation import words_and_characters
from gptapps.outputs import Answer, Choice, Classification, Likelihood, Output, Summary, Translation, Usage
from gptapps.registry import suggestion
from gptapps.tokenization.sentences import sentence_ends

_NOTHING = Usage(input_tokens=0, output_tokens=0)
_NAME = re.compile(r"\b[A-Z0-9][\w'’.-]*\w(?:[ \t](?:of |the |and ){0,2}[A-Z0-9][\w'’.-]*\w)*|\b[A-Z0-9]\b")
_QUOTED = re.compile(r"[《“「『](.+?)[》”」』]|([A-Za-z0-9][A-Za-z0-9 .'-]*[A-Za-z0-9])")
_CLAUSE = re.compile(r"[，。！？；：、,;\n]")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class Judged:
    """What baselines see: the examples that are evaluated.

    Attributes:
        examples: of one family.
        golds: one each.
        labels: the labels there are.
        options: merged options.
    """

    examples: Sequence[Any]
    golds: Sequence[Gold]
    labels: Sequence[str]
    options: Mapping[str, Any]


def baseline_outputs(name: str, evaluator: Evaluator, judged: Judged) -> list[Output]:
    """Return an output for each example.

    Raises:
        OptionError: there is no such baseline, or it gives something else than the task does.

    Example:
        >>> judged = Judged([SummarizationExample(text="It rained. We stayed in.")], [("Rain.",)], (), {})
        >>> baseline_outputs("lead_1", SummarizationEvaluator(), judged)[0].text
        'It rained.'
    """
    require_baselines(evaluator, (name,))
    return _BASELINES[name][1](judged)


def require_baselines(evaluator: Evaluator, names: Sequence[str]) -> None:
    """Raise :class:`OptionError` where there is no such baseline, or it is none of the evaluator's family."""
    fitting = [name for name, (kind, _) in _BASELINES.items() if issubclass(evaluator.output_type, kind)]
    for name in names:
        if name not in fitting:
            raise OptionError(
                f"There is no baseline {name!r} for this task.{suggestion(name, fitting)} It has: {', '.join(fitting)}."
            )


def scored_by(name: str, metric: str) -> bool:
    """Return whether a metric's value for a baseline says something.

    A perplexity counts a model's own tokens, zlib takes no word for the likeliest, and a length is no probability.
    """
    return metric not in _MEANINGLESS.get(name, ())


def leading_sentences(text: str, count: int) -> str:
    """Return the first sentences of a text as they stand there; a line is a sentence, too.

    Example:
        >>> leading_sentences("Dr. Lind came. She left at six.", 1)
        'Dr. Lind came.'
    """
    text = text.strip()
    for end in sentence_ends(text):
        count -= 1
        if not count:
            return text[:end].strip()
    return text


def _majority_label(judged: Judged) -> list[Output]:
    counts = Counter(judged.golds)
    ranked = sorted(judged.labels, key=lambda label: -counts[label])  # of equals the first listed
    scores = {label: counts[label] / len(judged.golds) for label in ranked}
    one = Classification(label=ranked[0], score=scores[ranked[0]], scores=scores, usage=_NOTHING)
    return [one] * len(judged.golds)


def _lead(count: int) -> Callable[[Judged], list[Output]]:
    def outputs(judged: Judged) -> list[Output]:
        texts = (leading_sentences(example.text, count) for example in judged.examples)
        return [Summary(text=text, finish_reason="end", usage=_NOTHING) for text in texts]

    return outputs


def _copy_source(judged: Judged) -> list[Output]:
    return [
        Translation(
            text=example.text,
            source=example.source or judged.options["source"],
            target=example.target or judged.options["target"],
            finish_reason="end",
            usage=_NOTHING,
        )
        for example in judged.examples
    ]


def _first_choice(judged: Judged) -> list[Output]:
    return [_choice(example.choices, 0) for example in judged.examples]


def _longest_choice(judged: Judged) -> list[Output]:
    lengths = [[len(choice) for choice in example.choices] for example in judged.examples]
    return [_choice(one.choices, row.index(max(row))) for one, row in zip(judged.examples, lengths, strict=True)]


def _choice(choices: Sequence[str], place: int) -> Output:
    equal = dict.fromkeys(choices, 1 / len(choices))
    return Choice(
        index=place, text=choices[place], score=1 / len(choices), scores=equal, log_likelihoods={}, usage=_NOTHING
    )


def _longest_name(judged: Judged) -> list[Output]:
    return [_answer(example.context, _name_in(example.context, example.question)) for example in judged.examples]


def _name_in(context: str, question: str) -> tuple[int, int]:
    chinese = len(_CHINESE.findall(context)) * 3 > len(context)
    spans = [(match.start(), match.end()) for match in (_QUOTED if chinese else _NAME).finditer(context)]
    if chinese:
        spans = [_inside_quotes(context, span) for span in spans]
    fresh = [span for span in spans if context[slice(*span)].lower() not in question.lower()]
    return max(fresh or _clauses(context) or [(0, len(context))], key=lambda span: span[1] - span[0])


def _inside_quotes(context: str, span: tuple[int, int]) -> tuple[int, int]:
    return (span[0] + 1, span[1] - 1) if context[span[0]] in "《“「『" else span


def _clauses(context: str) -> list[tuple[int, int]]:
    borders = [0, *(match.end() for match in _CLAUSE.finditer(context)), len(context) + 1]
    return [(start, end - 1) for start, end in itertools.pairwise(borders) if end - 1 > start]


def _nearest_sentence(judged: Judged) -> list[Output]:
    return [_answer(example.context, _nearest_in(example.context, example.question)) for example in judged.examples]


def _nearest_in(context: str, question: str) -> tuple[int, int]:
    wanted = Counter(words_and_characters(question))
    borders = [0, *sentence_ends(context)]
    spans = list(itertools.pairwise(borders))
    return max(spans, key=lambda span: (Counter(words_and_characters(context[slice(*span)])) & wanted).total())


def _answer(context: str, span: tuple[int, int]) -> Answer:
    text = context[slice(*span)]
    start = span[0] + len(text) - len(text.lstrip())
    return Answer(text=text.strip(), score=0.0, start=start, end=start + len(text.strip()), usage=_NOTHING)


def _compression(judged: Judged) -> list[Output]:
    return [_compressed(example.text.encode()) for example in judged.examples]


def _compressed(content: bytes) -> Likelihood:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)  # the bare stream, without header and checksum
    bits = 8 * (len(packer.compress(content)) + len(packer.flush()))
    return Likelihood(
        log_likelihood=-bits * math.log(2),
        perplexity=2.0 ** (bits / len(content)),
        bits_per_byte=bits / len(content),
        tokens=len(content),
        bytes=len(content),
        greedy=False,
        usage=_NOTHING,
    )


_MEANINGLESS: Mapping[str, tuple[str, ...]] = {
    "compression": ("perplexity", "greedy_accuracy"),
    "longest_choice": ("log_loss", "brier", "calibration_error"),
}
_BASELINES: Mapping[str, tuple[type[Output], Callable[[Judged], list[Output]]]] = {
    "majority_label": (Classification, _majority_label),
    "lead_1": (Summary, _lead(1)),
    "lead_3": (Summary, _lead(3)),
    "first_choice": (Choice, _first_choice),
    "longest_choice": (Choice, _longest_choice),
    "copy_source": (Translation, _copy_source),
    "longest_name": (Answer, _longest_name),
    "nearest_sentence": (Answer, _nearest_sentence),
    "compression": (Likelihood, _compression),
}
