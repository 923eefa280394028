"""What an evaluation returns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptapps.errors import UnknownNameError
from gptapps.evaluation.tables import score_table
from gptapps.metrics.confusion import ConfusionMatrix
from gptapps.metrics.score import Score
from gptapps.registry import suggestion


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """A model's scores on data, the baselines' beside them, and where every example lies.

    Attributes:
        task, model, data: what was evaluated: the task's id, the model's name, the data's name.
        scores: one a metric, in the order in which the metrics were asked for.
        baselines: name -> scores on the same examples.
        counts: ``examples``, ``shots`` (the worked examples in a prompt, in the one with most), ``input_tokens``,
            ``output_tokens``, ``dropped_tokens``, and how many examples were ``truncated`` or ``chunked``.
        signature: 16 hexadecimal digits of everything that decides the numbers; the manifest holds it all.
        folder: the run's, with manifest.json, examples.jsonl, report.json and report.html.
        confusion_matrix: of labels, where all examples have the same ones to choose from.

    Example:
        >>> report = evaluate("sentiment", "reviews.csv", limit=100)     # doctest: +SKIP
        >>> report.score("accuracy").value                               # doctest: +SKIP
        0.79
    """

    task: str
    model: str
    data: str
    scores: tuple[Score, ...]
    baselines: Mapping[str, tuple[Score, ...]]
    counts: Mapping[str, int]
    signature: str
    folder: Path
    confusion_matrix: ConfusionMatrix | None = None

    @property
    def table(self) -> str:
        """The scores as text in columns: metric, value, 95 % interval, baselines."""
        return score_table([(self.data, self.scores, self.baselines)], self.model)

    def score(self, metric: str) -> Score:
        """Return the score of a metric.

        Raises:
            UnknownNameError: it wasn't asked for.
        """
        for score in self.scores:
            if score.name == metric:
                return score
        names = [score.name for score in self.scores]
        raise UnknownNameError(f"There is no score {metric!r}.{suggestion(metric, names)} Scores: {', '.join(names)}.")

    def as_dict(self) -> dict[str, Any]:
        """Return what ``report.json`` holds; numbers that JSON doesn't know are None."""
        return {
            "task": self.task,
            "model": self.model,
            "data": self.data,
            "scores": [_as_dict(score) for score in self.scores],
            "baselines": {name: [_as_dict(score) for score in scores] for name, scores in self.baselines.items()},
            "counts": dict(self.counts),
            "confusion_matrix": self.confusion_matrix and self.confusion_matrix.as_dict(),
            "signature": self.signature,
        }


def finite(value: float | None) -> float | None:
    """Return a number that JSON knows, else None."""
    return value if value is not None and math.isfinite(value) else None


def _as_dict(score: Score) -> dict[str, Any]:
    fields = dataclasses.asdict(score)
    return {name: finite(value) if isinstance(value, float) else value for name, value in fields.items()}
