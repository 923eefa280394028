"""ROUGE through the rouge-score package, with a tokenizer that knows the language.

rouge-score keeps nothing but a-z and 0-9, so identical Chinese texts score 0 there. English is tokenized by
rouge-score itself, with its defaults; any other language by :func:`words_and_characters`.

Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries (2004).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptapps.errors import OptionError
from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.inputs import TextReference, check_pairs, check_texts, reference_tuples
from gptapps.metrics.score import AdditiveMetric, installed_version, mean_of, mean_statistics
from gptapps.metrics.segmentation import primary_language, words_and_characters

_NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rouge(AdditiveMetric[str, TextReference]):
    """Mean ROUGE F-measure, 0 to 1; of several references the one with the best F-measure counts.

    ``rouge1`` and ``rouge2`` compare words and pairs of words, ``rougeL`` the longest common subsequence,
    ``rougeLsum`` the same sentence by sentence, where each line is a sentence (rouge-score's default).

    Args:
        name: ``"rouge1"``, ``"rouge2"``, ``"rougeL"`` or ``"rougeLsum"``.
        use_stemmer: cut English words to their stems first; off, as in rouge-score. Published figures of
            English summaries often have it on.

    Example:
        >>> rougeL(["猫坐在垫子上"], ["猫坐在垫子上"], language="zh").value
        1.0
    """

    use_stemmer: bool = False

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            raise OptionError(f"There is no ROUGE {self.name!r}: name has to be one of {', '.join(_NAMES)}.")

    def statistics(
        self, predictions: Sequence[str], references: Sequence[TextReference], *, language: str = "en"
    ) -> FloatArray:
        """(best F-measure, 1) for each example, (N, 2)."""
        from rouge_score.rouge_scorer import RougeScorer  # imports NLTK: over a second

        check_pairs(predictions, references)
        check_texts(predictions, "Prediction")
        scorer = RougeScorer([self.name], tokenizer=self._tokenizer(language))
        return mean_statistics(
            [
                scorer.score_multi(texts, prediction)[self.name].fmeasure
                for prediction, texts in zip(predictions, reference_tuples(references), strict=True)
            ]
        )

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """F-measure / examples."""
        return mean_of(sums)

    def details(self, references: Sequence[TextReference], language: str) -> Mapping[str, object]:
        """Language, tokenizer, stemmer and the version of rouge-score."""
        english = primary_language(language) == "en"
        return {
            "lang": language,
            "tok": "rouge-score" if english else "words-and-characters",
            "stemmer": "yes" if self.use_stemmer else "no",
            "rouge-score": installed_version("rouge-score"),
        }

    def _tokenizer(self, language: str) -> Any:
        if primary_language(language) == "en":
            from rouge_score.tokenizers import DefaultTokenizer

            return DefaultTokenizer(self.use_stemmer)
        if self.use_stemmer:
            raise OptionError(f"The stemmer is for English, but the language is {language!r}: leave it off.")
        return _WordsAndCharacters()


class _WordsAndCharacters:
    def tokenize(self, text: str) -> list[str]:
        return words_and_characters(text)


rouge1 = Rouge(name="rouge1")
rouge2 = Rouge(name="rouge2")
rougeL = Rouge(name="rougeL")
rougeLsum = Rouge(name="rougeLsum")
