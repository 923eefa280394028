"""``gptapps finetune TASK DATA``."""

from __future__ import annotations

import json as json_lines
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gptapps.cli.data_options import data_options, data_plan
from gptapps.cli.late_command import LateCommand
from gptapps.cli.method_options import method_options, method_values
from gptapps.cli.progress import Steps
from gptapps.cli.task_command import SETUP_OPTIONS, call_options, pipeline_options
from gptapps.registry import PIPELINES
from gptapps.task_catalog import resolve_task, tasks
from gptapps.task_definition import TaskDefinition

if TYPE_CHECKING:
    from gptapps.training.findings import Diagnosis

_OF_THE_TASK = ("labels", "choices", "source", "target", "language", "overflow", "max_words", "max_new_tokens")
_NOT_OF_TRAINING = ("format", "lines")


class Finetunings(click.Group):
    """A command for each task that can be learned."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the ids of those tasks."""
        return [definition.id for definition in tasks() if definition.metrics]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the command of a task by id, alias or the path of a definition."""
        return FinetuneCommand(resolve_task(cmd_name), name=cmd_name)


@click.group(cls=Finetunings, subcommand_metavar="TASK DATA --output FOLDER [OPTIONS]")
def finetune() -> None:
    """Train a model for TASK on DATA and measure it.

    DATA is a .jsonl, .csv, .tsv or .parquet file, or a hub data set (hub:ORG/NAME#CONFIG:SPLIT).

    \b
        gptapps finetune sentiment reviews.csv --columns text=review,label=stars --output my-head
        gptapps finetune classify mails.csv --per-label 8 --seeds 5 --output few-mails
        gptapps finetune summarize articles.jsonl --method lora --output my-adapter

    The model is used by naming its folder: gptapps classify -m my-head. The data is examined first; what is fatal ends
    with exit code 2 before a model is loaded. The same command goes on where it was stopped.
    """


class FinetuneCommand(LateCommand):
    """Trains a model for one task."""

    def __init__(self, definition: TaskDefinition, *, name: str) -> None:
        super().__init__(
            definition,
            name=name,
            help=f"Train a model for this and measure it: {definition.summary}.\n\n"
            "Without --method a head is learned on the frozen model, which tasks that write text don't have.",
        )

    def make_params(self) -> list[click.Parameter]:
        """Return the parameters: which data, how it is learned, what a pipeline is told about it, and the model."""
        own = [*data_options(), *_training_options(), *method_options(self._methods())]
        calls = call_options(PIPELINES.get(self.definition.pipeline).options_type)
        return [
            *own,
            *(option for option in calls if option.name in _OF_THE_TASK),
            *(option for option in SETUP_OPTIONS if option.name not in _NOT_OF_TRAINING),
        ]

    def execute(self, show_progress: bool, **given: Any) -> None:
        """Train, and write the numbers."""
        from gptapps.training.plan import TrainingPlan
        from gptapps.training.processes import leads
        from gptapps.training.run import train

        methods = method_values(given, self._methods().values())
        own = {name: given.pop(name) for name in ("method", "output", "folds", "per_label", "seeds", "copies")}
        augment, translator, json = given.pop("augment"), given.pop("translator"), given.pop("json")
        learned_by = {name for kind in self._methods().values() for name in kind.__annotations__}
        data = data_plan(self.task, given, {})
        options = pipeline_options({name: value for name, value in given.items() if name not in learned_by})
        with Steps(show_progress) as steps:
            plan = TrainingPlan(
                task=self.task,
                train=data.train,
                validation=data.validation,
                columns=data.columns,
                where=data.where,
                label_names=data.label_names,
                limit=data.limit,
                sampling=data.sampling,
                seed=data.seed,
                augment=tuple(name.strip() for name in (augment or "").split(",") if name.strip()),
                translator=translator,
                options={**options, **methods, "progress": steps.download},
                progress=steps.step,
                on_diagnosis=_show_warnings,
                **own,
            )
            report = train(plan)
        if not leads():
            return
        if json:
            click.echo(json_lines.dumps({**report.as_dict(), "folder": str(report.folder)}, ensure_ascii=False))
        else:
            click.echo(f"{report.table}\n\n{report.folder}, signature {report.signature}")

    def _methods(self) -> Mapping[str, type]:
        from gptapps.training.methods import METHODS, methods_of

        return {name: METHODS.get(name).options_type for name in methods_of(self.definition)}


def _show_warnings(diagnosis: Diagnosis) -> None:
    quiet = logging.getLogger("gptapps").getEffectiveLevel() > logging.WARNING
    if diagnosis.data is not None and diagnosis.findings and not quiet:
        click.echo(f"{diagnosis.table}\n", err=True)


def _training_options() -> list[click.Option]:
    from gptapps.training.methods import METHODS

    positive = click.IntRange(min=1)
    return [
        click.Option(
            ["--output"],
            required=True,
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of the trained model; what is done is kept beside it until it stands.",
        ),
        click.Option(
            ["--method"],
            type=click.Choice(METHODS.names()),
            default="head",
            help="head: on the frozen model; lora: low-rank changes; full: all weights; prompt: virtual tokens.",
        ),
        click.Option(["--folds"], type=click.IntRange(min=2), help="Measure over so many folds as well."),
        click.Option(["--per-label"], type=positive, help="Learn from so many examples of each label only."),
        click.Option(["--seeds"], type=positive, default=1, help="Train with so many seeds: mean and spread."),
        click.Option(
            ["--augment"],
            metavar="NAME,...",
            help="Changed copies to learn from: word_dropout, word_swap, back_translation.",
        ),
        click.Option(["--copies"], type=positive, default=1, help="Of each example by each of these ways."),
        click.Option(["--translator"], help="Model that back_translation translates with."),
    ]
