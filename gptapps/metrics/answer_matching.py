"""Exact match and F1 of answers, by the rules of the data sets' official scripts.

=========  =====================================  ====================================================
rules      text before comparison                 F1 over
=========  =====================================  ====================================================
squad_v1   lower case, without ASCII              words in common, as a bag
           punctuation and the words a, an, the
squad_v2   the same                               the same; answers of which nothing is left don't
                                                  count, and without any the question is unanswerable
cmrc       lower case, without CMRC's list of     the longest run in common, of Chinese characters and
           punctuation                            of words of other scripts
=========  =====================================  ====================================================

The registered metrics ``exact_match`` and ``token_f1`` take the rules that suit the language: ``cmrc`` for Chinese,
``squad_v2`` for any other. ``squad_v1_exact_match`` and ``squad_v1_f1`` are the same two by SQuAD 1.1's rules.

CMRC's script first cuts such runs into sentences, with data that NLTK doesn't ship; here a run is one sentence.
Its values on CMRC's development set are the same.

Sources: Rajpurkar et al. (EMNLP 2016), Rajpurkar, Jia, Liang (ACL 2018), Cui et al. (EMNLP 2019) and the
``evaluate`` scripts that come with their data.
"""

from __future__ import annotations

import re
import string
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from gptapps.errors import OptionError
from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.inputs import TextReference, check_pairs, check_texts, reference_tuples
from gptapps.metrics.score import AdditiveMetric, installed_version, mean_of, mean_statistics
from gptapps.metrics.segmentation import UNSPACED_LANGUAGES, primary_language, words_and_characters

Rules = Literal["squad_v1", "squad_v2", "cmrc"]
_RULES = ("squad_v1", "squad_v2", "cmrc")

_DROP_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")

# The script's list holds a two-character ellipsis too, which no single character equals: "…" stays.
_DROP_CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE_OR_RUN = re.compile("([\u4e00-\u9fa5])|([^\u4e00-\u9fa5]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerMetric(AdditiveMetric[str, TextReference]):
    """Mean over the questions of the best score over a question's answers, 0 to 1.

    A prediction is the answer's text, ``""`` for "unanswerable". A reference is one answer, or a sequence of
    answers of which any will do; an empty sequence says that the question has none.

    Args:
        rules: see the table above; None takes ``cmrc`` for Chinese and ``squad_v2`` for any other language.
            ``squad_v1`` differs from it only for answers that are nothing but punctuation and articles.
    """

    rules: Rules | None = None

    def __post_init__(self) -> None:
        if self.rules is not None and self.rules not in _RULES:
            raise OptionError(f"There are no rules {self.rules!r}: they have to be one of {', '.join(_RULES)}.")

    @abstractmethod
    def match(self, prediction: str, answer: str, rules: Rules, language: str) -> float:
        """Return the score of a prediction against one answer."""

    def statistics(
        self, predictions: Sequence[str], references: Sequence[TextReference], *, language: str = "en"
    ) -> FloatArray:
        """(best score, 1) for each question, (N, 2)."""
        check_pairs(predictions, references)
        check_texts(predictions, "Prediction")
        code = primary_language(language)
        rules = self.rules or _rules_for(code)
        scores = []
        for prediction, answers in zip(predictions, reference_tuples(references, empty_allowed=True), strict=True):
            if rules == "squad_v2":
                answers = tuple(answer for answer in answers if _squad_text(answer))
            if answers:
                scores.append(max(self.match(prediction, answer, rules, code) for answer in answers))
            else:
                scores.append(float(not _plain_text(prediction, rules)))
        return mean_statistics(scores)

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Score / questions."""
        return mean_of(sums)

    def details(self, references: Sequence[TextReference], language: str) -> Mapping[str, object]:
        """Language and rules."""
        return {"lang": language, "rules": self.rules or _rules_for(primary_language(language))}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactMatch(AnswerMetric):
    """The share of questions answered with exactly one of the answers, up to case and punctuation.

    Example:
        >>> exact_match(["The cat!", ""], [["cat", "a dog"], []]).value
        1.0
    """

    name: str = "exact_match"

    def match(self, prediction: str, answer: str, rules: Rules, language: str) -> float:
        """1 where both are the same text."""
        return float(_plain_text(prediction, rules) == _plain_text(answer, rules))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenF1(AnswerMetric):
    """F1 between the units of prediction and answer: words, or characters where words have no spaces.

    Example:
        >>> token_f1(["black cat"], [["the cat", "a dog"]]).value == 2 / 3
        True
    """

    name: str = "token_f1"

    def match(self, prediction: str, answer: str, rules: Rules, language: str) -> float:
        """2PR / (P + R) of the units in common."""
        if rules == "cmrc":
            predicted, expected = _cmrc_units(prediction), _cmrc_units(answer)
            common = _longest_common_run(predicted, expected)
        else:
            predicted, expected = _squad_units(prediction, language), _squad_units(answer, language)
            common = (Counter(predicted) & Counter(expected)).total()
        if not common:
            return 0.0
        precision, recall = common / len(predicted), common / len(expected)
        return 2 * precision * recall / (precision + recall)

    def details(self, references: Sequence[TextReference], language: str) -> Mapping[str, object]:
        """Language and rules, and for ``cmrc`` the version of NLTK, which finds the words."""
        stated = AnswerMetric.details(self, references, language)
        return {**stated, "nltk": installed_version("nltk")} if stated["rules"] == "cmrc" else stated


def _rules_for(language: str) -> Rules:
    return "cmrc" if language == "zh" else "squad_v2"


def _plain_text(text: str, rules: Rules) -> str:
    return _cmrc_text(text) if rules == "cmrc" else _squad_text(text)


def _squad_text(text: str) -> str:
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_DROP_ASCII_PUNCTUATION)).split())


def _squad_units(text: str, language: str) -> list[str]:
    plain = _squad_text(text)
    return words_and_characters(plain) if language in UNSPACED_LANGUAGES else plain.split()


def _cmrc_text(text: str) -> str:
    return text.lower().strip().translate(_DROP_CMRC_PUNCTUATION)


def _cmrc_units(text: str) -> list[str]:
    units: list[str] = []
    for character, run in _CHINESE_OR_RUN.findall(_cmrc_text(text)):
        units.extend([character] if character else _word_tokenizer().tokenize(run))
    return units


@cache
def _word_tokenizer() -> Any:
    # What the script calls on such runs. The import takes over a second.
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def _longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    longest = 0
    previous = [0] * (len(second) + 1)
    for unit in first:
        current = [0]
        current.extend(previous[j] + 1 if unit == other else 0 for j, other in enumerate(second))
        longest = max(longest, *current)
        previous = current
    return longest


exact_match = ExactMatch()
token_f1 = TokenF1()
squad_v1_exact_match = ExactMatch(name="squad_v1_exact_match", rules="squad_v1")
squad_v1_f1 = TokenF1(name="squad_v1_f1", rules="squad_v1")
