"""Examples as a report shows them: prompt, prediction and gold, with what the two have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptapps.evaluation.recorded import predicted_label
from gptapps.evaluation.report.overlap import Stretch, overlapping
from gptapps.evaluation.run_folder import Finished
from gptapps.metrics.score import Score

Gold = str | tuple[str, ...] | None

_SHOWN_LABELS = 5
_NO_GOLD = "(no answer is right)"
_COMPARED_CHARACTERS = 4000
"""Beyond it texts are shown without marks: finding what they share takes a time that grows with its square."""


@dataclass(frozen=True, slots=True)
class PredictionView:
    """A prediction beside what is right.

    Attributes:
        stretches: of its text; empty for a likelihood.
        gold: the nearest of the texts that are right, in stretches, too; of a likelihood the text that was scored.
        other_golds: the further ones.
        right: whether a label is; None for what isn't simply right or wrong.
        probabilities: (label, probability, whether it is right) of the likeliest few and of the right one.
        numbers: name -> value of a likelihood, as text.
    """

    stretches: tuple[Stretch, ...] = ()
    gold: tuple[Stretch, ...] = ()
    other_golds: tuple[str, ...] = ()
    right: bool | None = None
    probabilities: tuple[tuple[str, float, bool], ...] = ()
    numbers: tuple[tuple[str, str], ...] = ()

    @property
    def is_marked(self) -> bool:
        """Whether any of its text is in the gold, too."""
        return any(stretch.overlap for stretch in self.stretches)


@dataclass(frozen=True, slots=True)
class Card:
    """An example of a run.

    Attributes:
        index: number of its row in the data, from 0.
        id: what the data calls it, else None.
        prompt: its own part of the prompt.
        scores: metric -> value as text.
        prediction: with the gold.
    """

    index: int
    id: str | None
    prompt: str
    scores: tuple[tuple[str, str], ...]
    prediction: PredictionView


def prediction_view(prediction: Mapping[str, Any], gold: Gold) -> PredictionView:
    """Return a recorded prediction as it is shown."""
    if "scores" in prediction:
        return _label_view(prediction, (gold,) if isinstance(gold, str) else gold or ())
    if "text" not in prediction:
        names = ("log_likelihood", "perplexity", "bits_per_byte", "tokens", "bytes")
        numbers = ((name.replace("_", " "), prediction[name]) for name in names if prediction.get(name) is not None)
        shown = tuple((name, f"{value:,.3f}" if isinstance(value, float) else f"{value:,}") for name, value in numbers)
        return PredictionView(numbers=shown, gold=(Stretch(gold, ""),) if isinstance(gold, str) else ())
    if gold == ():
        return PredictionView((Stretch(str(prediction["text"]), ""),), (Stretch(_NO_GOLD, ""),))
    return _text_view(str(prediction["text"]), (gold,) if isinstance(gold, str) else gold or ())


def worst_and_best(
    examples: Sequence[Finished], scores: Sequence[Score], most: int
) -> tuple[list[Finished], list[Finished]]:
    """Return the examples with the worst and with the best scores of their own, each beginning with the utmost.

    The first metric decides, of equals the next ones, then the probability of what is right.

    Args:
        examples: all of a run.
        scores: of the run, one a metric.
        most: how many of each at most; no example is in both.
    """

    def goodness(example: Finished) -> tuple[float, ...]:
        own = [(example.scores.get(score.name), score.higher_is_better) for score in scores]
        signed = [float("-inf") if value is None else value if up else -value for value, up in own]
        probabilities = example.prediction.get("scores", {})
        return (*signed, probabilities.get(example.gold, 0.0) if isinstance(example.gold, str) else 0.0)

    ordered = sorted(examples, key=goodness)
    worst = min(most, (len(ordered) + 1) // 2)
    return ordered[:worst], ordered[worst:][::-1][:most]


def score_texts(scores: Mapping[str, float | None]) -> tuple[tuple[str, str], ...]:
    """Return an example's own scores as text, by the names of the metrics."""
    return tuple((name.replace("_", " "), "–" if value is None else f"{value:.3g}") for name, value in scores.items())


def _label_view(prediction: Mapping[str, Any], golds: Sequence[str]) -> PredictionView:
    label = predicted_label(prediction)
    right = set(prediction["labels"]) == set(golds) if "labels" in prediction else label in golds
    ranked = sorted(prediction["scores"].items(), key=lambda pair: -pair[1])
    shown = [(name, share, name in golds) for name, share in ranked[:_SHOWN_LABELS]]
    shown += [(name, share, True) for name, share in ranked[_SHOWN_LABELS:] if name in golds]
    return PredictionView((Stretch(label, ""),), right=right, probabilities=tuple(shown))


def _text_view(text: str, golds: Sequence[str]) -> PredictionView:
    if not golds:
        return PredictionView((Stretch(text, ""),))
    if len(text) + max(map(len, golds)) > _COMPARED_CHARACTERS:
        return PredictionView((Stretch(text, ""),), (Stretch(golds[0], ""),), tuple(golds[1:]))
    pairs = [overlapping(text, gold) for gold in golds]
    nearest = max(range(len(golds)), key=lambda place: _shared(pairs[place][0]))
    mine, theirs = pairs[nearest]
    others = tuple(gold for place, gold in enumerate(golds) if place != nearest)
    return PredictionView(tuple(mine), tuple(theirs), tuple(dict.fromkeys(others)))


def _shared(stretches: Sequence[Stretch]) -> int:
    return sum(len(stretch.text) for stretch in stretches if stretch.overlap)
