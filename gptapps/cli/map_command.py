"""``gptapps map TASK``: a task over many files, on this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gptapps.cli.late_command import LateCommand
from gptapps.cli.progress import Progress
from gptapps.cli.task_command import SETUP_OPTIONS, SHOT_OPTIONS, call_options, pipeline_options, shots_given
from gptapps.errors import OptionError
from gptapps.registry import PIPELINES
from gptapps.task_catalog import resolve_task, tasks
from gptapps.task_definition import TaskDefinition

_NOT_OF_MAPS = ("json",)


class Maps(click.Group):
    """A command for each task."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their ids."""
        return [definition.id for definition in tasks()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the command of a task by id, alias or the path of a definition."""
        return MapCommand(resolve_task(cmd_name), name=cmd_name)


@click.group(name="map", cls=Maps, subcommand_metavar="TASK --input FILES --output FOLDER [OPTIONS]")
def map_files() -> None:
    """Run TASK over many files.

    Each input file gets a file of results of its name in the output folder: line i is the result of row i, in JSON.

    \b
        gptapps map summarize --input 'articles/*.jsonl' --output summaries/
        gptapps map sentiment --input 'reviews/*.csv' --output out/ --engine ray --workers 8

    Files are done part by part: what was finished when the command was stopped, or killed, is there, and the same
    command does the rest.
    """


class MapCommand(LateCommand):
    """Runs one task over many files."""

    def __init__(self, definition: TaskDefinition, *, name: str) -> None:
        super().__init__(definition, name=name, help=f"Over many files: {definition.summary}.")

    def make_params(self) -> list[click.Parameter]:
        """Return the parameters: the files, the engine, then those of the pipeline."""
        kind = PIPELINES.get(self.definition.pipeline)
        return [
            click.Option(
                ["--input", "inputs"],
                required=True,
                multiple=True,
                metavar="FILES",
                help="A file or a pattern such as 'data/*.jsonl'. May be given several times.",
            ),
            click.Option(
                ["--output"],
                required=True,
                type=click.Path(path_type=Path, file_okay=False),
                help="The folder of the results.",
            ),
            click.Option(
                ["--engine"],
                type=click.Choice(["local", "ray"]),
                default="local",
                help="This process, or the workers of Ray; local by default.",
            ),
            click.Option(
                ["--workers"],
                type=click.IntRange(min=1),
                help="Processes of the engine ray, each with a model of its own; by default one for each CPU.",
            ),
            click.Option(["--part-rows"], type=click.IntRange(min=1), help="Rows that are finished together; 256."),
            *call_options(kind.options_type),
            *(SHOT_OPTIONS if "shots" in kind.options_type.__annotations__ else ()),
            *(option for option in SETUP_OPTIONS if option.name not in _NOT_OF_MAPS),
        ]

    def execute(
        self,
        show_progress: bool,
        *,
        inputs: Sequence[str],
        output: Path,
        engine: str,
        workers: int | None,
        part_rows: int | None,
        format: Any,
        lines: bool,
        shots: Path | None = None,
        no_shots: bool = False,
        **given: Any,
    ) -> None:
        """Do what isn't done, and name the files of results."""
        from gptapps.integrations.bulk import PART_ROWS, BulkFolder, BulkPlan
        from gptapps.integrations.bulk_worker import run_here

        if engine == "local" and workers is not None:
            raise OptionError("--workers is of the engine ray: add --engine ray, or leave it out.")
        options = pipeline_options(given)
        options |= shots_given(shots, no_shots)
        plan = BulkPlan(
            task=self.task,
            inputs=inputs,
            output=output,
            format="lines" if lines else format,
            part_rows=part_rows or PART_ROWS,
            options=options,
        )
        with Progress(show_progress) as progress, BulkFolder(plan) as folder:
            parts = folder.remaining()
            if engine == "ray":
                from gptapps.integrations.ray import run_on_ray

                done = run_on_ray(plan, parts, workers)
            else:
                done = run_here(plan, parts, progress.download)
            for part in progress.count(done):
                folder.finish(part)
        for target, count in folder.rows.items():
            click.echo(f"{target}\t{count}")
