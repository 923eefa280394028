"""``gptapps evaluate TASK DATA`` and ``gptapps bench SUITE``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gptapps.cli.data_options import name_value_pairs, reading_options
from gptapps.cli.evaluation_progress import RunProgress
from gptapps.cli.late_command import LateCommand
from gptapps.cli.task_command import SETUP_OPTIONS, call_options, pipeline_options
from gptapps.registry import PIPELINES
from gptapps.task_catalog import resolve_task, tasks
from gptapps.task_definition import TaskDefinition

if TYPE_CHECKING:
    from gptapps.decoding.language_model import LanguageModel
    from gptapps.evaluation.bench import Outcome
    from gptapps.evaluation.results import EvaluationReport

_NOT_OF_EVALUATIONS = ("json", "format", "lines")
_SMOKE = "smoke"
_FOLDER = click.Path(path_type=Path, file_okay=False)


class Evaluations(click.Group):
    """A command for each task that has metrics."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the ids of those tasks."""
        return [definition.id for definition in tasks() if definition.metrics]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the command of a task by id, alias or the path of a definition."""
        return EvaluateCommand(resolve_task(cmd_name), name=cmd_name)


@click.group(cls=Evaluations, subcommand_metavar="TASK DATA [OPTIONS]")
def evaluate() -> None:
    """Evaluate TASK on DATA: metrics with intervals, beside baselines.

    DATA is a .jsonl, .csv, .tsv or .parquet file, or a hub data set (hub:ORG/NAME#CONFIG:SPLIT).

    \b
        gptapps evaluate sentiment reviews.csv --columns text=review,label=stars --limit 300
        gptapps evaluate translate pairs.jsonl --source en --target fr --shots 5 -m gemma-3-270m

    Each finished example is on the disk at once: the same command goes on where
    it was stopped.
    """


class EvaluateCommand(LateCommand):
    """Evaluates one task."""

    def __init__(self, definition: TaskDefinition, *, name: str) -> None:
        super().__init__(
            definition,
            name=name,
            help=f"Evaluate: {definition.summary}.\n\nWrites a table to standard output, every example and "
            "report.html to a folder.",
        )

    def make_params(self) -> list[click.Parameter]:
        """Return the parameters: data, the evaluation's own, then those of the pipeline."""
        own = [click.Argument(["data"]), *_evaluation_options()]
        kind = PIPELINES.get(self.definition.pipeline)
        taken = {parameter.name for parameter in own}
        calls = [option for option in call_options(kind.options_type) if option.name not in taken]
        setup = [option for option in SETUP_OPTIONS if option.name not in _NOT_OF_EVALUATIONS]
        return [*own, *calls, *setup]

    def execute(
        self,
        show_progress: bool,
        *,
        data: str,
        columns: Sequence[str],
        where: Sequence[str],
        label_names: Sequence[str],
        metrics: str | None,
        baselines: str | None,
        output: Path | None,
        json: bool,
        shots: int | None,
        shots_data: str | None,
        limit: int | None,
        sampling: Any,
        seed: int,
        prepare: Any,
        text_language: str | None,
        **given: Any,
    ) -> None:
        """Evaluate and write the scores."""
        from gptapps.evaluation.plan import Plan
        from gptapps.evaluation.run import Run

        with RunProgress(show_progress) as progress:
            plan = Plan(
                task=self.task,
                data=data,
                shots=shots,
                shots_data=shots_data,
                limit=limit,
                sampling=sampling,
                seed=seed,
                columns=name_value_pairs(columns, "columns"),
                where=name_value_pairs(where, "where"),
                label_names=name_value_pairs(label_names, "label-names"),
                prepare=prepare,
                metrics=_names(metrics),
                baselines=_names(baselines),
                text_language=text_language,
                output=output,
                options={**pipeline_options(given), "progress": progress.download},
            )
            with Run(plan) as run:
                for _ in progress.watch(run.name, run):
                    pass
                report = run.report()
        click.echo(json_line(report) if json else f"{report.table}\n\n{report.folder}, signature {report.signature}")


@click.command()
@click.argument("suite")
@click.option("--data-root", type=_FOLDER, help="Folder in which copies of the data sets lie; without it, the hub's.")
@click.option("--limit", type=click.IntRange(min=1), help="The most examples of a data set, instead of its own limit.")
@click.option("--full", is_flag=True, help="All examples, whatever the limits.")
@click.option("--output", type=_FOLDER, help="Folder that holds the run folders; by default runs.")
@click.option("--json", is_flag=True, help="Write a JSON line for each data set instead of tables.")
@click.pass_context
def bench(
    context: click.Context,
    /,
    suite: str,
    data_root: Path | None,
    limit: int | None,
    full: bool,
    output: Path | None,
    json: bool,
    **given: Any,
) -> int:
    """Evaluate a model on the data sets of SUITE, or of all suites.

    SUITE is classification, question_answering, translation, summarization, language_modelling, smoke, all, or the
    path of a suite of your own (.toml). smoke needs no data from elsewhere; all leaves it out.

    \b
        gptapps bench smoke
        gptapps bench summarization --data-root data -m gemma-3-270m --limit 50

    A data set that was begun goes on where it was stopped. One that the model can't do, or that can't be read, is
    listed with the reason; the exit code is 2 where there was another reason than the model.
    """
    from gptapps.evaluation.bench import BenchSettings, run_suite, suite_table
    from gptapps.evaluation.plan import RUNS
    from gptapps.evaluation.suite import load_suite, suite_names

    names = [name for name in suite_names() if name != _SMOKE] if suite == "all" else [suite]
    suites = [load_suite(name) for name in names]
    options = pipeline_options(given)
    run_options = {name: options[name] for name in options if name in ("batch_size", "max_cache_bytes")}
    settings = BenchSettings(data_root=data_root, limit=limit, full=full, parent=output or RUNS, options=run_options)
    failed = False
    with RunProgress(context.obj["progress"]) as progress:
        model = _loaded_model(options, progress)
        for position, one in enumerate(suites):
            outcomes = []
            for outcome in run_suite(one, model, settings, progress.watch):
                outcomes.append(outcome)
                failed |= outcome.state == "failed"
                if json:
                    click.echo(outcome_line(one.name, outcome))
            if not json:
                gap = "\n" if position else ""
                click.echo(f"{gap}{one.name}: {one.summary}\n\n{suite_table(outcomes, model.name)}")
    return 2 if failed else 0


bench.params += [option for option in SETUP_OPTIONS if option.name not in _NOT_OF_EVALUATIONS]


def json_line(report: EvaluationReport) -> str:
    """Return a report as one JSON line."""
    return json.dumps({**report.as_dict(), "folder": str(report.folder)}, ensure_ascii=False)


def outcome_line(suite: str, outcome: Outcome) -> str:
    """Return what became of an entry as one JSON line."""
    what = {"suite": suite, "entry": outcome.entry, "state": outcome.state}
    report = outcome.report
    more = {"reason": outcome.reason} if report is None else {**report.as_dict(), "folder": str(report.folder)}
    return json.dumps({**what, **more}, ensure_ascii=False)


def _loaded_model(options: Mapping[str, Any], progress: RunProgress) -> LanguageModel:
    from gptapps.decoding.language_model import LanguageModel
    from gptapps.model_store import DEFAULT_MODEL
    from gptapps.pipelines.factory import set_threads

    if "threads" in options:
        set_threads(options["threads"])
    given = {
        name: options[name] for name in ("device", "dtype", "low_memory", "revision", "offline") if name in options
    }
    return LanguageModel.load(options.get("model", DEFAULT_MODEL), progress=progress.download, **given)


def _evaluation_options() -> Iterator[click.Option]:
    yield from reading_options("The most examples to evaluate.")
    yield click.Option(
        ["--shots"], type=click.IntRange(min=0), help="Worked examples from data; by default the task's own."
    )
    yield click.Option(["--shots-data"], help="Data to draw them from; by default the first rows of DATA.")
    yield click.Option(["--metrics"], metavar="NAME,...", help="Metrics instead of the task's own.")
    yield click.Option(["--baselines"], metavar="NAME,...", help="Baselines instead of the usual ones; '' for none.")
    yield click.Option(["--text-language"], help="Language tag of what is right, by which metrics split text.")
    yield click.Option(
        ["--prepare"],
        type=click.Choice(["last_word", "skip_empty", "articles"]),
        help="Score a text's last word behind the rest, leave out rows without text, or join lines to articles.",
    )
    yield click.Option(["--output"], type=_FOLDER, help="The run's folder; by default one below runs.")
    yield click.Option(["--json"], is_flag=True, help="Write one JSON line instead of a table.")


def _names(given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(name.strip() for name in given.split(",") if name.strip())
