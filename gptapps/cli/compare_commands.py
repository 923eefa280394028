"""``gptapps compare RUN RUN`` and ``gptapps report RUN``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path

import click

_RUN = click.Path(path_type=Path)


@click.command()
@click.argument("runs", metavar="RUN RUN [RUN]...", nargs=-1, required=True, type=_RUN)
@click.option("--examples", type=click.IntRange(min=0), default=5, help="Show so many that changed most; 5 by default.")
@click.option("--different-prompts", is_flag=True, help="Compare runs whose prompts differ, on purpose.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to this file, too.")
@click.option("--seed", type=click.IntRange(min=0), default=12345, help="Of the tests; sacrebleu's 12345 by default.")
@click.option("--resamples", type=click.IntRange(min=0), default=1000, help="Of the bootstrap; 1000 by default.")
@click.option("--trials", type=click.IntRange(min=0), default=10_000, help="Of randomization; 10000 by default.")
@click.option("--json", is_flag=True, help="Write one JSON line instead of a table.")
def compare(
    runs: tuple[Path, ...],
    examples: int,
    different_prompts: bool,
    html: Path | None,
    seed: int,
    resamples: int,
    trials: int,
    json: bool,
) -> None:
    """Compare runs with the first of them: differences, p-values, and the examples that changed.

    RUN is the folder of a finished run of `gptapps evaluate` or `gptapps bench`.

    \b
        gptapps compare runs/one runs/other
        gptapps compare runs/one runs/other --html difference.html

    Runs on other data, on other rows or with other prompts are refused. P-values of BLEU, chrF and TER are those of
    sacrebleu's paired tests.
    """
    from gptapps.evaluation.compare import compare as compared
    from gptapps.evaluation.report.comparison_page import write_comparison

    found = compared(
        *runs,
        examples=examples,
        different_prompts=different_prompts,
        seed=seed,
        resamples=resamples,
        trials=trials,
    )
    if html is not None:
        write_comparison(found, html)
    if json:
        click.echo(jsonlib.dumps(found.as_dict(), ensure_ascii=False))
        return
    click.echo(found.table)
    if found.changed:
        click.echo(f"\n{len(found.changed)} of the {found.changes} examples that changed:\n\n{found.examples_text}")
    if html is not None:
        click.echo(f"\n{html}")


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=_RUN)
def report(runs: tuple[Path, ...]) -> None:
    """Write report.html into the folder of each finished RUN again.

    It is one file that needs no network: scores beside the baselines, confusion matrix, reliability, score against
    input length, the worst and best examples, and the manifest. Every run writes it at its end; this writes it anew,
    without a model.
    """
    from gptapps.evaluation.report.page import write_report

    for folder in runs:
        click.echo(write_report(folder))
