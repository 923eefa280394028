"""Heads, metrics and pipelines by name.

Built-in entries and plug-ins are the same thing: a name and an import path that is followed when the name is
first asked for. A plug-in is an entry point of another distribution, in the group of its kind::

    [project.entry-points."gptapps.metrics"]
    politeness = "my_package.metrics:politeness"

Names are unique: a plug-in that takes a built-in's name, or another plug-in's, is refused when the registry
is first read, with both origins in the message.
"""

from __future__ import annotations

import difflib
import importlib
import threading
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from gptapps.errors import DuplicateNameError, GPTAppsError, UnknownNameError


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``name``, or an empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


class Registry:
    """Names of one kind, each with an import path that is followed on first use.

    Args:
        kind: what an entry is called in messages, such as ``"metric"``.
        group: the entry-point group plug-ins use, such as ``"gptapps.metrics"``.
        builtin: name -> ``"module:attribute"``.

    Example:
        >>> "language_model" in HEADS.names()
        True
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, Any] = dict(builtin)
        self._origins = dict.fromkeys(builtin, "gptapps")
        self._plugins_read = False
        self._lock = threading.RLock()

    def register(self, name: str, entry: Any, *, origin: str = "a call of register()") -> None:
        """Add ``entry``, an object or a ``"module:attribute"`` path, under ``name``.

        Raises:
            DuplicateNameError: the name is taken.
        """
        with self._lock:
            if name in self._entries:
                raise DuplicateNameError(
                    f"The {self.kind} {name!r} of {origin} is registered already, by {self._origins[name]}: "
                    "give one of the two another name."
                )
            self._entries[name] = entry
            self._origins[name] = origin

    def unregister(self, name: str) -> None:
        """Forget ``name``; an unknown one raises :class:`UnknownNameError`."""
        with self._lock:
            self._require(name)
            del self._entries[name], self._origins[name]

    def names(self) -> tuple[str, ...]:
        """Return every registered name, sorted, plug-ins among them."""
        with self._lock:
            self._read_plugins()
            return tuple(sorted(self._entries))

    def get(self, name: str) -> Any:
        """Return the object registered as ``name``, importing it on first use.

        Raises:
            UnknownNameError: nobody registered it; the message suggests the nearest name.
            GPTAppsError: its module can't be imported, or lacks the attribute.
        """
        with self._lock:
            self._require(name)
            entry = self._entries[name]
            if isinstance(entry, str):
                entry = self._entries[name] = self._follow(name, entry)
            return entry

    def _require(self, name: str) -> None:
        self._read_plugins()
        if name not in self._entries:
            raise UnknownNameError(
                f"There is no {self.kind} {name!r}.{suggestion(name, self._entries)} "
                f"Known: {', '.join(sorted(self._entries))}."
            )

    def _follow(self, name: str, path: str) -> Any:
        module, _, attribute = path.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # the module is someone else's and may fail in any way
            raise GPTAppsError(
                f"The {self.kind} {name!r} of {self._origins[name]} can't be loaded from {path!r} "
                f"({type(error).__name__}: {error}): mend or uninstall it."
            ) from error

    def _read_plugins(self) -> None:
        if self._plugins_read:
            return
        added: list[str] = []
        try:
            for point in metadata.entry_points(group=self.group):
                origin = point.dist.name if point.dist else point.value
                self.register(point.name, point.value, origin=f"the distribution {origin!r}")
                added.append(point.name)
        except DuplicateNameError:
            for name in added:  # the next reading has to meet the same two, not a name it added itself
                del self._entries[name], self._origins[name]
            raise
        self._plugins_read = True


HEADS = Registry(
    "head",
    "gptapps.heads",
    {
        "language_model": "gptapps.heads.language_model:LanguageModelHead",
        "sequence_classification": "gptapps.heads.sequence_classification:SequenceClassificationHead",
        "multi_label": "gptapps.heads.sequence_classification:MultiLabelHead",
        "multiple_choice": "gptapps.heads.multiple_choice:MultipleChoiceHead",
        "span": "gptapps.heads.span:SpanHead",
    },
)

PIPELINES = Registry(
    "pipeline",
    "gptapps.pipelines",
    {
        "classification": "gptapps.pipelines.classification:ClassificationPipeline",
        "multi_label": "gptapps.pipelines.multi_label:MultiLabelPipeline",
        "question_answering": "gptapps.pipelines.question_answering:QuestionAnsweringPipeline",
        "multiple_choice": "gptapps.pipelines.multiple_choice:MultipleChoicePipeline",
        "translation": "gptapps.pipelines.translation:TranslationPipeline",
        "summarization": "gptapps.pipelines.summarization:SummarizationPipeline",
        "generation": "gptapps.pipelines.generation:GenerationPipeline",
        "scoring": "gptapps.pipelines.scoring:ScoringPipeline",
    },
)

METRICS = Registry(
    "metric",
    "gptapps.metrics",
    {
        "accuracy": "gptapps.metrics.classification:accuracy",
        "macro_f1": "gptapps.metrics.classification:macro_f1",
        "micro_f1": "gptapps.metrics.classification:micro_f1",
        "weighted_f1": "gptapps.metrics.classification:weighted_f1",
        "matthews": "gptapps.metrics.classification:matthews",
        "log_loss": "gptapps.metrics.classification:log_loss",
        "brier": "gptapps.metrics.classification:brier",
        "calibration_error": "gptapps.metrics.classification:calibration_error",
        "accuracy_norm": "gptapps.metrics.choices:accuracy_norm",
        "label_f1": "gptapps.metrics.label_sets:label_f1",
        "label_macro_f1": "gptapps.metrics.label_sets:label_macro_f1",
        "exact_labels": "gptapps.metrics.label_sets:exact_labels",
        "exact_match": "gptapps.metrics.answer_matching:exact_match",
        "token_f1": "gptapps.metrics.answer_matching:token_f1",
        "squad_v1_exact_match": "gptapps.metrics.answer_matching:squad_v1_exact_match",
        "squad_v1_f1": "gptapps.metrics.answer_matching:squad_v1_f1",
        "bleu": "gptapps.metrics.bleu:bleu",
        "chrf": "gptapps.metrics.bleu:chrf",
        "ter": "gptapps.metrics.bleu:ter",
        "rouge1": "gptapps.metrics.rouge:rouge1",
        "rouge2": "gptapps.metrics.rouge:rouge2",
        "rougeL": "gptapps.metrics.rouge:rougeL",
        "rougeLsum": "gptapps.metrics.rouge:rougeLsum",
        "perplexity": "gptapps.metrics.likelihood:perplexity",
        "bits_per_byte": "gptapps.metrics.likelihood:bits_per_byte",
        "greedy_accuracy": "gptapps.metrics.likelihood:greedy_accuracy",
    },
)
