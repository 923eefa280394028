"""A run: one task, one model, some data, one folder; made, continued and counted up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from gptapps.datasets import HUB_PREFIX
from gptapps.decoding.model_identity import model_identity
from gptapps.errors import CapabilityError, DataError, OptionError
from gptapps.evaluation.baselines import Judged, baseline_outputs, require_baselines, scored_by
from gptapps.evaluation.counted_labels import counted_labels
from gptapps.evaluation.evaluators import evaluator_for
from gptapps.evaluation.manifest import OF_THE_PROMPT, Manifest, prompt_identity, runtime, task_identity
from gptapps.evaluation.measures import common_language, metrics_for
from gptapps.evaluation.plan import Chosen, Plan, choose_from_data
from gptapps.evaluation.report.page import write_report
from gptapps.evaluation.results import EvaluationReport, finite
from gptapps.evaluation.run_folder import Finished, RunFolder
from gptapps.evaluation.selection import Item
from gptapps.examples import Example
from gptapps.metrics.score import Metric, Score
from gptapps.outputs import Output
from gptapps.pipelines.base import Pipeline
from gptapps.pipelines.factory import SetupOptions, pipeline
from gptapps.pipelines.trained import definition_for, pipeline_kind
from gptapps.prompts.adapters import Prompt
from gptapps.task_definition import TaskDefinition


class Run:
    """A run that is open; a context that lets go of its folder at the end.

    The data is read and checked before the model is loaded.

    Args:
        plan: what to evaluate.

    Raises:
        GPTAppsError: an option, the data or the model can't be used, or the folder holds another run.

    Example:
        >>> with Run(Plan(task="sentiment", data="reviews.csv")) as run:     # doctest: +SKIP
        ...     for finished in run.remaining():
        ...         print(finished.prediction)
        ...     print(run.report().table)
    """

    def __init__(self, plan: Plan) -> None:
        definition = definition_for(plan.task, plan.options.get("model"))
        kind = pipeline_kind(definition)
        self._plan = plan
        self._evaluator = evaluator_for(definition.id, kind)
        self._metrics = metrics_for(definition.id, self._evaluator, tuple(plan.metrics or definition.metrics))
        self._baselines = tuple(self._evaluator.baselines if plan.baselines is None else plan.baselines)
        require_baselines(self._evaluator, self._baselines)
        if plan.seed < 0:
            raise OptionError(f"seed is {plan.seed}, but has to be 0 or above.")
        chosen = choose_from_data(plan, definition, kind, self._evaluator)
        shots = {} if chosen.shots is None else {"shots": chosen.shots}
        self._items, self._options = chosen.items, {**chosen.options, **shots}
        self._language = plan.text_language or common_language(
            self._evaluator, [item.example for item in self._items], self._options
        )
        given = {name: value for name, value in plan.options.items() if name in SetupOptions.__annotations__}
        self._pipeline: Pipeline[Any, Any] = pipeline(plan.task, **given, **self._options)
        for item in self._items:
            _at(item, self._pipeline.check_example)
        _at(self._items[0], self._prompt)  # what the model can't be asked leaves no folder behind
        self._manifest = self._make_manifest(definition, chosen)
        self._folder = RunFolder(plan.output or plan.parent / self._default_name(), self._manifest)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def name(self) -> str:
        """What the data is called."""
        return self._plan.name or str(self._manifest.content["names"]["data"])

    @property
    def done(self) -> int:
        """How many examples are finished."""
        return sum(item.index in self._folder.finished for item in self._items)

    def remaining(self) -> Iterator[Finished]:
        """Do the examples that aren't finished; each is on the disk as soon as it is done, before it is yielded.

        They are taken in order, but those about the same context one after the other, so that it is read once.

        Raises:
            GPTAppsError: an example can't be used (the message names its place), or the disk can't be written.
        """
        waiting = _by_context(item for item in self._items if item.index not in self._folder.finished)
        outputs = self._pipeline.run_unordered((item.example for item in waiting), {})
        for done in waiting:  # an example that can't be used says so when as many as stand before it are done
            number, output = _at(done, lambda _: next(outputs))
            finished = self._finished(waiting[number], output)
            self._folder.add(finished)
            yield finished

    def report(self) -> EvaluationReport:
        """Count the finished examples up and write ``report.json`` and ``report.html``.

        Raises:
            OptionError: examples remain to be done.
            DataError: a metric can't score what came out.
        """
        done = self._folder.finished
        if missing := sum(item.index not in done for item in self._items):
            raise OptionError(
                f"{missing} of {len(self._items)} examples remain to be done: go through remaining() first."
            )
        outputs = [self._output(done[item.index]) for item in self._items]
        golds = [self._evaluator.gold(item.example) for item in self._items]
        examples = [item.example for item in self._items]
        judged = Judged(examples, golds, self._options.get("labels", ()), self._options)
        report = EvaluationReport(
            task=self._pipeline.definition.id,
            model=self._pipeline.model.name,
            data=self.name,
            scores=tuple(self._score(metric, outputs, golds) for metric in self._metrics),
            baselines={name: self._baseline_scores(name, judged) for name in self._baselines},
            counts={"examples": len(outputs), "shots": self._shots_shown(examples), **_token_counts(outputs)},
            signature=self._manifest.signature,
            folder=self._folder.path,
            confusion_matrix=counted_labels(outputs, golds, self._options.get("labels"), seed=self._plan.seed),
        )
        self._folder.write_report(report.as_dict())
        write_report(self._folder.path)
        return report

    def _finished(self, item: Item, output: Output) -> Finished:
        gold = self._evaluator.gold(item.example)
        dumped = output.model_dump(mode="json")
        usage = dumped.pop("usage")
        scores = {metric.name: self._own_score(metric, output, gold) for metric in self._metrics}
        return Finished(item.index, item.id, self._prompt(item.example).text, dumped, gold, scores, usage)

    def _prompt(self, example: Example) -> Prompt:
        return self._evaluator.rendered(self._pipeline, example, self._options)

    def _shots_shown(self, examples: Sequence[Example]) -> int:
        # Counted anew, because a run's lines don't say it; languages may have different numbers of them.
        return max(self._prompt(example).shots for example in examples)

    def _output(self, finished: Finished) -> Output:
        kind = self._evaluator.output_type
        fields = {name: value for name, value in finished.prediction.items() if name in kind.model_fields}
        return kind.model_validate({**fields, "usage": finished.usage})

    def _own_score(self, metric: Metric, output: Output, gold: Any) -> float | None:
        prediction = self._evaluator.prediction(metric, output)
        statistics = metric.statistics([prediction], [gold], language=self._language)
        return finite(float(metric.aggregate(statistics)[0]))

    def _score(self, metric: Metric, outputs: Sequence[Output], golds: Sequence[Any]) -> Score:
        predictions = [self._evaluator.prediction(metric, output) for output in outputs]
        return metric(predictions, golds, language=self._language, seed=self._plan.seed)

    def _baseline_scores(self, name: str, judged: Judged) -> tuple[Score, ...]:
        outputs = baseline_outputs(name, self._evaluator, judged)
        metrics = [metric for metric in self._metrics if scored_by(name, metric.name)]
        return tuple(self._score(metric, outputs, judged.golds) for metric in metrics)

    def _make_manifest(self, definition: TaskDefinition, chosen: Chosen) -> Manifest:
        plan, model = self._plan, self._pipeline.model
        content = {
            "names": {"model": model.name, "data": chosen.source.name},
            "task": task_identity(definition),
            "model": model_identity(model),
            "tokenizer": {"sha256": model.tokenizer.checksum},
            "data": {
                "sha256": chosen.source.sha256,
                "columns": dict(plan.columns or {}),
                "where": dict(plan.where or {}),
                "label_names": dict(plan.label_names or {}),
                "prepare": plan.prepare,
            },
            "shots": plan.shots if isinstance(plan.shots, int) else None,
            "shots_data": chosen.shots_source and chosen.shots_source.sha256,
            "limit": plan.limit if len(self._items) < chosen.left else None,
            "sampling": plan.sampling,
            "seed": plan.seed,
            "prompt": prompt_identity(self._pipeline, self._options),
            "options": {name: value for name, value in self._options.items() if name not in OF_THE_PROMPT},
            "metrics": [metric.name for metric in self._metrics],
            "text_language": self._language,
            **runtime(model),
        }
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return Manifest.of(content, created=created, batch_size=self._pipeline.setup.batch_size)

    def _default_name(self) -> str:
        stem = self.name.removeprefix(HUB_PREFIX) if self.name.startswith(HUB_PREFIX) else Path(self.name).stem
        parts = (self._pipeline.definition.id, stem, Path(self._pipeline.model.name).name, self._manifest.signature[:8])
        return re.sub(r"[^\w.-]+", "_", "-".join(parts))


def _by_context(items: Iterable[Item]) -> list[Item]:
    places: dict[object, int] = {}
    return sorted(
        items, key=lambda item: places.setdefault(getattr(item.example, "context", None) or item.index, len(places))
    )


def _at(item: Item, work: Any) -> Any:
    """Do something with an item's example; an error of the input gets to say where it stands."""
    try:
        return work(item.example)
    except (DataError, CapabilityError) as error:
        raise type(error)(f"{item.where}: {error}") from None


def _token_counts(outputs: Sequence[Output]) -> dict[str, int]:
    usages = [output.usage for output in outputs]
    return {
        "input_tokens": sum(usage.input_tokens for usage in usages),
        "output_tokens": sum(usage.output_tokens for usage in usages),
        "dropped_tokens": sum(usage.dropped_tokens for usage in usages),
        "truncated": sum(usage.dropped_tokens > 0 for usage in usages),
        "chunked": sum(usage.chunks > 1 for usage in usages),
    }
