"""``gptapps pretrain DATA``."""

from __future__ import annotations

import json as json_lines
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gptapps.cli.progress import Steps


class PretrainCommand(click.Command):
    """A command whose further options are made when they are first asked for, since that loads PyTorch."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, those of the training among them."""
        from gptapps.cli.method_options import method_options
        from gptapps.training.pretraining.options import PretrainOptions

        known = {parameter.name for parameter in self.params}
        options = method_options({"pretrain": PretrainOptions})
        self.params += [option for option in options if option.name not in known]
        return super().get_params(ctx)


@click.command(cls=PretrainCommand, context_settings={"max_content_width": 100})
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the model; what is done is kept beside it until it stands.",
)
@click.option("--size", default="gpt-2-small", help="gpt-1, gpt-2-small to -xl, or gpt-3-small to -175b.")
@click.option(
    "--objective",
    type=click.Choice(["next-token", "masked"]),
    default="next-token",
    help="The next token; or 15 % of the tokens, hidden, from those on both sides, which can't generate or score.",
)
@click.option("--tokenizer", help="Of a packaged model, a folder, a GGUF file or a hub id; else trained on the text.")
@click.option(
    "--validation",
    default="0.1",
    metavar="FILE|SHARE",
    help="Other text to try it on, or the share of DATA that is set aside for that; 0.1 by default.",
)
@click.option("--column", default="text", help="Of a table, that holds the text.")
@click.option("--limit", type=click.IntRange(min=1), help="The most rows of DATA to take.")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="Text that a sample of each try goes on from, as often as there are samples; three begin anew.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of all that is drawn; 0 by default.")
@click.option("--json", is_flag=True, help="Write a JSON line instead of a table.")
@click.pass_context
def pretrain(
    context: click.Context,
    /,
    data: Sequence[str],
    output: Path,
    size: str,
    objective: Any,
    tokenizer: str | None,
    validation: str,
    column: str,
    limit: int | None,
    prompts: tuple[str, ...],
    seed: int,
    json: bool,
    **given: Any,
) -> None:
    """Train a GPT from scratch on the plain text of DATA.

    DATA are text files, each of them one text, or .jsonl, .csv, .tsv or .parquet files, or hub data sets
    (hub:ORG/NAME#CONFIG:SPLIT), with a text in each row.

    \b
        gptapps pretrain book.txt --output my-gpt --layers 4 --channels 256 --context 128
        gptapps pretrain articles.jsonl --size gpt-2-small --tokenizer my-gpt2 --output my-gpt
        torchrun --nproc-per-node 2 -m gptapps pretrain articles.jsonl --shard --output my-gpt

    The model is used by naming its folder: gptapps generate -m my-gpt. Samples of every evaluation lie in its folder
    samples. The same command goes on where it was stopped.
    """
    from gptapps.cli.method_options import method_values
    from gptapps.training.pretraining.options import PretrainOptions
    from gptapps.training.pretraining.plan import PretrainPlan
    from gptapps.training.pretraining.run import train
    from gptapps.training.processes import leads

    with Steps(context.obj["progress"] and leads()) as steps:
        report = train(
            PretrainPlan(
                data=tuple(data),
                output=output,
                size=size,
                objective=objective,
                tokenizer=tokenizer,
                validation=_share_or_name(validation),
                column=column,
                limit=limit,
                seed=seed,
                options={**method_values(given, [PretrainOptions]), **({"prompts": prompts} if prompts else {})},
                progress=steps.step,
            )
        )
    if not leads():
        return
    if json:
        click.echo(json_lines.dumps({**report.as_dict(), "folder": str(report.folder)}, ensure_ascii=False))
    else:
        click.echo(f"{report.table}\n\n{report.folder}, signature {report.signature}")


def _share_or_name(given: str) -> str | float:
    try:
        return float(given)
    except ValueError:
        return given
