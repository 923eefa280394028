"""The commands and what happens when one fails."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, NoReturn

import click

import gptapps
from gptapps.cli.check_command import check
from gptapps.cli.compare_commands import compare, report
from gptapps.cli.evaluate_commands import bench, evaluate
from gptapps.cli.finetune_commands import finetune
from gptapps.cli.map_command import map_files
from gptapps.cli.model_commands import models
from gptapps.cli.pretrain_command import pretrain
from gptapps.cli.task_command import TaskCommand
from gptapps.errors import GPTAppsError, UnknownNameError
from gptapps.registry import suggestion
from gptapps.task_catalog import resolve_task, tasks


class Commands(click.Group):
    """One command for each task of the catalogue, plug-ins among them, beside the fixed ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the task commands, then the fixed ones."""
        return [*(definition.id for definition in tasks()), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a fixed command, or that of a task by id, alias or the path of a definition.

        Raises:
            UnknownNameError: there is neither.
        """
        if fixed := super().get_command(ctx, cmd_name):
            return fixed
        try:
            return TaskCommand(resolve_task(cmd_name), name=cmd_name)
        except UnknownNameError as error:
            others = super().list_commands(ctx)
            raise UnknownNameError(
                f"{error}{suggestion(cmd_name, others)} Commands beside the tasks: {', '.join(others)}."
            ) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named; a reader of its output that has seen enough ends it quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # as with `| head`; click itself would call it a failure
            _discard_output()


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gptapps.__version__, "-V", "--version", message="gptapps %(version)s")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")
@click.pass_context
def app(context: click.Context, quiet: bool) -> None:
    """Use a GPT for a job: summarize, classify, answer, choose, translate, generate, score.

    A task reads files (or - for standard input) and writes one result for each input to standard output:

    \b
        gptapps summarize article.txt
        gptapps classify --labels urgent,routine --lines mails.txt
        gptapps answer --question "Who wrote it?" book.txt
        cat questions.jsonl | gptapps answer --json - > answers.jsonl

    The path of a task definition of your own (.toml) works as a task's name. The default model is fetched once, on
    first use; `gptapps models` shows what is on this machine.
    """
    context.obj = {"progress": not quiet and sys.stderr is not None and sys.stderr.isatty()}
    logging.getLogger("gptapps").setLevel(logging.ERROR if quiet else logging.WARNING)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


app.add_command(models)
app.add_command(evaluate)
app.add_command(bench)
app.add_command(compare)
app.add_command(report)
app.add_command(check)
app.add_command(finetune)
app.add_command(pretrain)
app.add_command(map_files)


@app.command("tasks")
def list_tasks() -> None:
    """List the tasks, with what they need of a model."""
    for definition in tasks():
        needs = f"  (needs: {', '.join(definition.needs)})" if definition.needs else ""
        click.echo(f"{definition.id:<12}{definition.summary}{needs}")
        if definition.aliases:
            click.echo(f"{'':<12}also: {', '.join(definition.aliases)}")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code.

    0 is success, 2 a mistake that a sentence on standard error explains, 130 an interruption.
    """
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        result: Any = app.main(arguments, prog_name="gptapps", standalone_mode=False)
        if sys.stdout is not None:  # None where it was closed
            sys.stdout.flush()
    except GPTAppsError as error:
        return _fail(str(error))
    except click.ClickException as error:
        hint = f"\nTry '{error.ctx.command_path} --help'." if isinstance(error, click.UsageError) and error.ctx else ""
        return _fail(f"{error.format_message().rstrip('.')}.{hint}")
    except (KeyboardInterrupt, click.Abort):
        click.echo("gptapps: interrupted; what was written so far is complete.", err=True)
        return 130
    except OSError as error:
        _discard_output()
        where = f" ({error.filename})" if error.filename else ""
        return _fail(f"Reading or writing failed{where}: {(error.strerror or str(error)).lower()}.")
    return result if isinstance(result, int) else 0


def _discard_output() -> None:
    # Python flushes standard output once more at exit; point it elsewhere so that it doesn't fail there again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    click.echo(f"gptapps: {message}", err=True)
    return 2
