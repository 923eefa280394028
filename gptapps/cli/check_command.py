"""``gptapps check TASK DATA``: what is wrong with data before anything is learned from it."""

from __future__ import annotations

import json as json_lines
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from gptapps.cli.data_options import data_options, data_plan
from gptapps.cli.late_command import LateCommand
from gptapps.cli.task_command import SETUP_OPTIONS, call_options, pipeline_options
from gptapps.registry import PIPELINES
from gptapps.task_catalog import resolve_task, tasks
from gptapps.task_definition import TaskDefinition

if TYPE_CHECKING:
    from gptapps.training.data import TrainingData
    from gptapps.training.findings import Diagnosis

_OF_THE_DATA = ("labels", "choices", "source", "target", "language", "overflow")
_OF_THE_MODEL = ("model", "revision", "offline")
_LABELS_SHOWN = 8


class Checks(click.Group):
    """A command for each task that can be learned."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the ids of those tasks."""
        return [definition.id for definition in tasks() if definition.metrics]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the command of a task by id, alias or the path of a definition."""
        return CheckCommand(resolve_task(cmd_name), name=cmd_name)


@click.group(cls=Checks, subcommand_metavar="TASK DATA [OPTIONS]")
def check() -> None:
    """Examine DATA before TASK is learned from it.

    DATA is a .jsonl, .csv, .tsv or .parquet file, or a hub data set (hub:ORG/NAME#CONFIG:SPLIT).

    \b
        gptapps check sentiment reviews.csv --columns text=review,label=stars --label-names 1=negative,5=positive
        gptapps check answer train.jsonl --validation dev.jsonl

    Each finding names file, row, column and remedy. The exit code is 2 where one is fatal, which `gptapps finetune`
    would stop at, and 0 otherwise.
    """


class CheckCommand(LateCommand):
    """Examines data of one task."""

    def __init__(self, definition: TaskDefinition, *, name: str) -> None:
        super().__init__(
            definition,
            name=name,
            help=f"Examine data before this is learned from it: {definition.summary}.\n\n"
            "What doesn't fit the model is found by its tokenizer; its weights are not read.",
        )

    def make_params(self) -> list[click.Parameter]:
        """Return the parameters: which data, what a pipeline is told about it, and the model."""
        from gptapps.training.methods import methods_of

        calls = call_options(PIPELINES.get(self.definition.pipeline).options_type)
        return [
            *data_options(),
            *(option for option in calls if option.name in _OF_THE_DATA),
            *(option for option in SETUP_OPTIONS if option.name in _OF_THE_MODEL),
            click.Option(["--json"], is_flag=True, help="Write one JSON line instead of a table."),
            click.Option(
                ["--method"],
                type=click.Choice(methods_of(self.definition)),
                help="What it is to be learned by; by default, and with head, what the model holds is the limit.",
            ),
            click.Option(
                ["--max-length"],
                type=click.IntRange(min=1),
                help="Most tokens of prompt and target, if not those of the method.",
            ),
        ]

    def execute(self, show_progress: bool, **given: Any) -> int:
        """Examine and write the findings."""
        from gptapps.cli.progress import Progress
        from gptapps.training.doctor import diagnose
        from gptapps.training.gradient_options import token_limit
        from gptapps.training.methods import method_for

        limit = given["max_length"]
        if given["method"] is not None:
            of_method = {} if limit is None else {"max_length": limit}
            limit = token_limit(method_for(given["method"], self.definition), of_method) or limit
        options = pipeline_options({name: given.get(name) for name in _OF_THE_DATA})
        plan = data_plan(self.task, given, options)
        model = _model(given["model"])
        with Progress(show_progress) as progress:
            diagnosis = diagnose(
                plan,
                model=model,
                limit=limit,
                **{name: given[name] for name in ("revision", "offline") if given[name] is not None},
                progress=progress.download,
            )
        if given["json"]:
            click.echo(json_lines.dumps(diagnosis.as_dict(), ensure_ascii=False))
        else:
            click.echo(_report(diagnosis, lengths=model is not None))
        return 2 if diagnosis.fatal else 0


def _model(named: str | None) -> str | None:
    """Return the model whose tokenizer is asked: the one that was named, or the default where it is here already."""
    from gptapps.errors import ModelError
    from gptapps.model_store import DEFAULT_MODEL, resolve

    if named is not None:
        return named
    try:
        resolve(DEFAULT_MODEL, offline=True)
    except ModelError:
        return None
    return DEFAULT_MODEL


def _report(diagnosis: Diagnosis, *, lengths: bool) -> str:
    from gptapps.model_store import DEFAULT_MODEL

    parts = [diagnosis.table] if diagnosis.findings else []
    if diagnosis.data is not None:
        parts.append(_summary(diagnosis.data))
    if count := len(diagnosis.fatal):
        have = "finding has" if count == 1 else "findings have"
        parts.append(f"{count} {have} to be mended before anything is learned.")
    elif not diagnosis.findings:
        parts.append("Nothing is wrong with it.")
    if not lengths and diagnosis.data is not None:
        parts.append(
            f"But no lengths were checked, since {DEFAULT_MODEL} is not on this machine: name a model with -m, which "
            "fetches it."
        )
    return "\n\n".join(parts)


def _summary(data: TrainingData) -> str:
    from gptapps.training.data import gold_labels

    lines = [f"{len(data.train):,} examples to learn from, {len(data.validation):,} to try it on"]
    if data.labels:
        counts = Counter(gold_labels(data, data.train))
        shown = [f"{label} {counts[label]:,}" for label in data.labels[:_LABELS_SHOWN]]
        more = len(data.labels) - len(shown)
        lines.append(", ".join(shown) + (f" and {more} labels more" if more else ""))
    return "\n".join(lines)
