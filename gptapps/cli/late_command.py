"""A command of one task whose options are made when they are first asked for, since that loads PyTorch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import click

from gptapps.task_definition import TaskDefinition


class LateCommand(click.Command):
    """What the commands of a task share.

    A subclass writes :meth:`make_params`, and an ``execute`` that takes whether to show progress and the parameters.

    Args:
        definition: the task.
        name: as it was called: an id, an alias, the path of a definition.
        help: of the whole command.
    """

    execute: Callable[..., Any]

    def __init__(self, definition: TaskDefinition, *, name: str, help: str) -> None:
        super().__init__(name, help=help, short_help=definition.summary, context_settings={"max_content_width": 100})
        self.definition = definition
        self._made: list[click.Parameter] = []

    @property
    def task(self) -> str:
        """The task as it was called."""
        return self.name or self.definition.id

    @abstractmethod
    def make_params(self) -> list[click.Parameter]:
        """Return the parameters."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, made once, and those of every command."""
        self._made = self._made or self.make_params()
        self.params = self._made
        return super().get_params(ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Run with the parameters that were parsed."""
        return self.execute(ctx.obj["progress"], **ctx.params)
