"""What a training returns, and what its folder says about it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptapps.errors import UnknownNameError
from gptapps.evaluation.tables import aligned, interval_text, score_table
from gptapps.metrics.score import Score
from gptapps.registry import suggestion
from gptapps.training.measuring import Measured
from gptapps.training.spread import Spread, spreads


@dataclass(frozen=True, slots=True)
class FinetuneReport:
    """A trained model's numbers, and where it lies.

    Attributes:
        task, method, model: what was trained, how, and on which model.
        folder: of the trained model; ``pipeline(task, model=folder)`` serves it.
        examples: ``"train"`` and ``"validation"`` -> how many.
        measured: scores on the validation examples, baselines beside them.
        rounds: further trainings of the same kind, ``"fold-1"`` or ``"seed-0"`` and so on -> their scores.
        details: what the method says: what was chosen, learning curves.
        signature: 16 hexadecimal digits of everything that decides the weights.

    Example:
        >>> report = finetune("sentiment", "reviews.csv", output="my-head")     # doctest: +SKIP
        >>> report.score("accuracy").value                                      # doctest: +SKIP
        0.87
    """

    task: str
    method: str
    model: str
    folder: Path
    examples: Mapping[str, int]
    measured: Measured
    rounds: Mapping[str, tuple[Score, ...]]
    details: Mapping[str, Any]
    signature: str

    @property
    def scores(self) -> tuple[Score, ...]:
        """Scores on the validation examples; empty where there were none."""
        return self.measured.scores

    @property
    def spreads(self) -> tuple[Spread, ...]:
        """Each metric over the rounds; empty where there were none."""
        return spreads(self.rounds)

    @property
    def table(self) -> str:
        """Everything for a terminal: scores on validation, then over folds or seeds."""
        parts = []
        if self.scores:
            parts.append(score_table([("validation", self.scores, self.measured.baselines or {})], self.method))
        if self.rounds:
            beside = self.baselines_alone
            names = [name.replace("_", " ") for name in beside]
            lines = [["metric", f"mean of {self.rounds_name}", "deviation", "each", *names]]
            for one in self.spreads:
                each = " ".join(f"{value:.3f}" for value in one.values)
                interval = interval_text(one.mean, one.low, one.high)
                cells = [scores.get(one.name, "") for scores in beside.values()]
                lines.append([one.name, interval, f"{one.deviation:.3f}", each, *cells])
            parts += [aligned(lines), self.meaning]
        return "\n\n".join(parts) or "There were no examples to measure it on."

    @property
    def baselines_alone(self) -> Mapping[str, Mapping[str, str]]:
        """Where folds alone were measured on, what baselines reach on all examples: name -> metric -> as text."""
        if self.scores:
            return {}
        return {
            name: {score.name: interval_text(score.value, score.low, score.high) for score in scores}
            for name, scores in (self.measured.baselines or {}).items()
        }

    @property
    def meaning(self) -> str:
        """What the numbers of the rounds say about the model that is kept; empty where there were no rounds."""
        if not self.rounds:
            return ""
        if not next(iter(self.rounds)).startswith("fold"):
            return "The first seed's model is kept."
        if self.scores:
            return "The validation examples judge the model that is kept; each fold judges another, trained like it."
        return (
            f"The model that is kept learned from all {self.examples['train']:,} examples. Each fold judges another, "
            "trained like it without that fold, so the one that is kept should do no worse."
        )

    @property
    def rounds_name(self) -> str:
        """How the rounds are called together, such as ``"5 folds"``."""
        kind = next(iter(self.rounds), "round-").partition("-")[0]
        return f"{len(self.rounds)} {kind}s"

    def score(self, metric: str) -> Score:
        """Return a score on the validation examples.

        Raises:
            UnknownNameError: there is none of that metric.
        """
        for score in self.scores:
            if score.name == metric:
                return score
        names = [score.name for score in self.scores]
        raise UnknownNameError(
            f"There is no score {metric!r}.{suggestion(metric, names)} Scores: {', '.join(names) or 'none'}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds; the folder isn't in it."""
        return {
            "task": self.task,
            "method": self.method,
            "model": self.model,
            "examples": dict(self.examples),
            "scores": scores_as_json(self.scores),
            "baselines": {name: scores_as_json(scores) for name, scores in (self.measured.baselines or {}).items()},
            "rounds": {name: scores_as_json(scores) for name, scores in self.rounds.items()},
            "spreads": [{**_plain(dataclasses.asdict(one)), "values": list(one.values)} for one in self.spreads],
            "details": dict(self.details),
            "signature": self.signature,
        }

    @classmethod
    def from_dict(cls, said: Mapping[str, Any], folder: Path) -> FinetuneReport:
        """Return the report that :meth:`as_dict` wrote."""
        baselines = {name: scores_from_json(scores) for name, scores in said["baselines"].items()}
        return cls(
            task=said["task"],
            method=said["method"],
            model=said["model"],
            folder=folder,
            examples=said["examples"],
            measured=Measured(scores_from_json(said["scores"]), baselines),
            rounds={name: scores_from_json(scores) for name, scores in said["rounds"].items()},
            details=said["details"],
            signature=said["signature"],
        )


def scores_as_json(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return scores for a JSON file; numbers that JSON doesn't know are None."""
    return [_plain(dataclasses.asdict(score)) for score in scores]


def scores_from_json(said: Sequence[Mapping[str, Any]]) -> tuple[Score, ...]:
    """Return the scores that :func:`scores_as_json` wrote."""
    return tuple(Score(**{**one, "value": math.nan if one["value"] is None else one["value"]}) for one in said)


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }
