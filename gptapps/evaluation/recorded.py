"""A finished run read back from its folder, without a model: what comparisons and reports are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gptapps.errors import DataError
from gptapps.evaluation.evaluators import Evaluator, evaluator_of
from gptapps.evaluation.manifest import SCHEMA_VERSION
from gptapps.evaluation.run_folder import EXAMPLES, REPORT, Finished, read_lines, read_manifest
from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.score import Metric, Score
from gptapps.outputs import Output


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What a run's folder holds.

    Attributes:
        folder: the run's.
        manifest, report: the content of the two files.
        examples: every finished example, in the order of the data.
        evaluator: of the family that the predictions belong to.
        outputs: one an example, as the pipeline gave them.
    """

    folder: Path
    manifest: Mapping[str, Any]
    report: Mapping[str, Any]
    examples: tuple[Finished, ...]
    evaluator: Evaluator
    outputs: tuple[Output, ...]

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.report["model"])

    @property
    def language(self) -> str:
        """The language that metrics take the gold to be in."""
        return str(self.manifest["text_language"])

    @property
    def seed(self) -> int:
        """Of the intervals, among others."""
        return int(self.manifest["seed"])

    @property
    def scores(self) -> tuple[Score, ...]:
        """The model's scores, in the order in which the metrics were asked for."""
        return tuple(_score(fields) for fields in self.report["scores"])

    @property
    def baselines(self) -> Mapping[str, tuple[Score, ...]]:
        """Baseline -> its scores."""
        return {name: tuple(map(_score, scores)) for name, scores in self.report["baselines"].items()}

    def predictions(self, metric: Metric) -> list[Any]:
        """Return what ``metric`` compares with the gold, one an example."""
        return [self.evaluator.prediction(metric, output) for output in self.outputs]

    def statistics(self, metric: Metric) -> FloatArray:
        """Return the metric's statistics, (N, S).

        Raises:
            DataError: the metric can't score the predictions.
        """
        golds = [example.gold for example in self.examples]
        return metric.statistics(self.predictions(metric), golds, language=self.language)


def read_run(folder: str | Path) -> RecordedRun:
    """Read a finished run.

    Raises:
        DataError: the folder holds no run, one that isn't finished, or files that don't fit each other.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"The run in {path} was written by another version of gptapps: evaluate again.")
    try:
        report = json.loads((path / REPORT).read_bytes())
        examples = sorted(read_lines((path / EXAMPLES).read_bytes()).values(), key=lambda one: one.index)
    except FileNotFoundError:
        raise DataError(f"The run in {path} isn't finished: repeat the command that began it.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"The run in {path} can't be read ({error}): repeat the command that made it.") from None
    if not examples or len(examples) != report["counts"]["examples"]:
        raise DataError(f"{path / EXAMPLES} doesn't hold what {REPORT} counts: repeat the command that made the run.")
    evaluator = evaluator_of(examples[0].prediction)
    if evaluator is None:
        raise DataError(f"{path / EXAMPLES} has predictions of a kind that gptapps doesn't know: evaluate again.")
    try:
        outputs = tuple(_output(evaluator, example) for example in examples)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise DataError(f"{path / EXAMPLES} has a prediction whose {place} can't be used: evaluate again.") from None
    return RecordedRun(path, manifest, report, tuple(examples), evaluator, outputs)


def prediction_text(prediction: Mapping[str, Any]) -> str:
    """Return what a person wants to see of a recorded prediction: its text, label or likelihood.

    Example:
        >>> prediction_text({"label": "spam", "score": 0.75, "scores": {"spam": 0.75, "ham": 0.25}})
        'spam (0.75)'
    """
    if "score" in prediction and "scores" in prediction:
        return f"{predicted_label(prediction)} ({prediction['score']:.2f})"
    if "labels" in prediction:
        return predicted_label(prediction)
    if "log_likelihood" in prediction and "text" not in prediction:
        return f"log-likelihood {prediction['log_likelihood']:.2f} over {prediction['tokens']} tokens"
    return str(prediction.get("text", json.dumps(prediction, ensure_ascii=False)))


def predicted_label(prediction: Mapping[str, Any]) -> str:
    """Return the label, the choice or the labels that a recorded prediction with probabilities fell on."""
    if "labels" in prediction:
        return ", ".join(prediction["labels"]) or "(none)"
    return str(prediction.get("label", prediction.get("text")))


def _output(evaluator: Evaluator, example: Finished) -> Output:
    kind = evaluator.output_type
    fields = {name: value for name, value in example.prediction.items() if name in kind.model_fields}
    return kind.model_validate({**fields, "usage": example.usage})


def _score(fields: Mapping[str, Any]) -> Score:
    value = fields["value"]
    return Score(**{**fields, "value": math.nan if value is None else value})  # JSON knows no NaN
