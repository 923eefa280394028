"""Metrics: every one returns a :class:`Score` with value, interval and signature.

The registered metrics are found by name through :data:`gptapps.registry.METRICS`; the modules here hold their
classes for whoever wants other options, ``Bleu(tokenizer="char")`` for instance.
"""

from __future__ import annotations

from gptapps.metrics.calibration import ReliabilityBin, reliability_bins
from gptapps.metrics.confusion import ConfusionMatrix, confusion_matrix
from gptapps.metrics.score import AdditiveMetric, Metric, Score

__all__ = [
    "AdditiveMetric",
    "ConfusionMatrix",
    "Metric",
    "ReliabilityBin",
    "Score",
    "confusion_matrix",
    "reliability_bins",
]
