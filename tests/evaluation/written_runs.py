"""Run folders written by hand: predictions and golds of any family, without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptapps.evaluation.evaluators import evaluator_of
from gptapps.evaluation.manifest import Manifest
from gptapps.evaluation.results import EvaluationReport, finite
from gptapps.evaluation.run_folder import EXAMPLES, MANIFEST, REPORT, Finished
from gptapps.metrics.score import Score
from gptapps.registry import METRICS

Prediction = Mapping[str, Any]
Golds = Sequence[Any]


def label(name: str, probability: float = 0.9, others: Sequence[str] = ("negative", "positive")) -> Prediction:
    """A classification: its label has the probability, the others share the rest."""
    rest = [other for other in others if other != name]
    scores = {name: probability, **{other: (1 - probability) / len(rest) for other in rest}}
    return {"label": name, "score": probability, "scores": scores}


def summary(text: str) -> Prediction:
    """A summary."""
    return {"text": text, "finish_reason": "end"}


def translation(text: str, target: str = "de") -> Prediction:
    """A translation from English."""
    return {"text": text, "source": "en", "target": target, "finish_reason": "end"}


def answer(text: str) -> Prediction:
    """An answer at the beginning of its context."""
    return {"text": text, "score": 0.5, "start": 0, "end": len(text)}


def write_run(
    folder: Path,
    predictions: Sequence[Prediction],
    golds: Golds,
    metrics: Sequence[str],
    *,
    model: str = "tiny",
    prompts: Sequence[str] | None = None,
    baselines: Mapping[str, Sequence[Prediction]] | None = None,
    language: str = "en",
    seed: int = 0,
    first: int = 0,
    **manifest: Any,
) -> Path:
    """Write a finished run.

    Args:
        folder: of the run.
        predictions, golds: one an example.
        metrics: names of registered metrics.
        model: its name.
        prompts: one an example.
        baselines: name -> predictions.
        language: of the golds.
        seed: of the intervals.
        first: number of the first example's row.
        manifest: what it says differently from the other runs'.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prompts = prompts or [f"Say what is right.\n\nText: number {place}\nAnswer:" for place in range(len(golds))]
    content = {
        "names": {"model": model, "data": "rows.jsonl"},
        "task": {"id": "sentiment", "sha256": "0" * 64},
        "model": {"sha256": model, "of": "weights"},
        "data": {"sha256": "d" * 64, "columns": {}, "where": {}, "label_names": {}, "prepare": None},
        "seed": seed,
        "prompt": {"sha256": model, "prompts": "p" * 64, "chat_template": model, "system": None, "shots": None},
        "options": {"overflow": "truncate"},
        "metrics": list(metrics),
        "text_language": language,
        **manifest,
    }
    written = Manifest.of(content, created="2026-01-02T03:04:05+00:00", batch_size=8)
    (folder / MANIFEST).write_bytes(written.as_json())

    def scored(outputs: Sequence[Prediction]) -> tuple[Score, ...]:
        found = (METRICS.get(name) for name in metrics)
        return tuple(metric(_compared(metric, outputs), golds, language=language, seed=seed) for metric in found)

    with (folder / EXAMPLES).open("wb") as file:
        for place, (prediction, gold, prompt) in enumerate(zip(predictions, golds, prompts, strict=True)):
            scores = {name: _own(METRICS.get(name), prediction, gold, language) for name in metrics}
            usage = {"input_tokens": len(prompt), "output_tokens": 3, "dropped_tokens": 0, "chunks": 1}
            finished = Finished(first + place, f"row-{place}", prompt, prediction, gold, scores, usage)
            file.write(finished.as_line())
    report = EvaluationReport(
        task="sentiment",
        model=model,
        data="reviews",
        scores=scored(predictions),
        baselines={name: scored(outputs) for name, outputs in (baselines or {}).items()},
        counts={"examples": len(golds), "shots": 0, "input_tokens": 1234, "output_tokens": 56, "dropped_tokens": 0},
        signature=written.signature,
        folder=folder,
    )
    (folder / REPORT).write_text(json.dumps(report.as_dict(), ensure_ascii=False), encoding="utf-8")
    return folder


def _compared(metric: Any, predictions: Sequence[Prediction]) -> list[Any]:
    evaluator = evaluator_of(predictions[0])
    assert evaluator is not None
    usage = {"input_tokens": 1, "output_tokens": 1}
    outputs = (evaluator.output_type.model_validate({**one, "usage": usage}) for one in predictions)
    return [evaluator.prediction(metric, output) for output in outputs]


def _own(metric: Any, prediction: Prediction, gold: Any, language: str) -> float | None:
    statistics = metric.statistics(_compared(metric, [prediction]), [gold], language=language)
    return finite(float(metric.aggregate(statistics)[0]))
