"""The options that say which data a task is learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from gptapps.cli.evaluate_commands import name_value_pairs

if TYPE_CHECKING:
    from gptapps.training.data import DataPlan

_NOTHING = "none"


def data_options() -> Iterator[click.Parameter]:
    """Yield the argument DATA and the options that :func:`data_plan` understands."""
    pair: dict[str, Any] = {"multiple": True, "metavar": "NAME=VALUE,..."}
    yield click.Argument(["data"])
    yield click.Option(
        ["--validation"],
        default="0.1",
        metavar="FILE|SHARE|none",
        help="Other data to try it on, or the share of DATA that is set aside for that; 0.1 by default.",
    )
    yield click.Option(["--columns"], **pair, help="Which column a field is, such as text=sentence,label=target.")
    yield click.Option(["--where"], **pair, help="Take only rows whose column has that value, such as language=en.")
    yield click.Option(
        ["--label-names"], **pair, help="What labels in the data stand for, such as 0=negative,1=positive."
    )
    yield click.Option(["--limit"], type=click.IntRange(min=1), help="The most rows of DATA to take.")
    yield click.Option(
        ["--sampling"],
        type=click.Choice(["first", "random"]),
        default="first",
        help="Whether those are the first or drawn by the seed.",
    )
    yield click.Option(["--seed"], type=click.IntRange(min=0), default=0, help="Of all that is drawn; 0 by default.")


def data_plan(task: str, given: dict[str, Any], options: Mapping[str, Any]) -> DataPlan:
    """Return the plan that a command line describes.

    Args:
        task: as it was called.
        given: what the options of :func:`data_options` were given; they are taken out.
        options: of the pipeline's calls.

    Raises:
        OptionError: a part of a list that isn't NAME=VALUE.
    """
    from gptapps.training.data import DataPlan

    return DataPlan(
        task=task,
        train=given.pop("data"),
        validation=_validation(given.pop("validation")),
        columns=name_value_pairs(given.pop("columns"), "columns"),
        where=name_value_pairs(given.pop("where"), "where"),
        label_names=name_value_pairs(given.pop("label_names"), "label-names"),
        limit=given.pop("limit"),
        sampling=given.pop("sampling"),
        seed=given.pop("seed"),
        options=options,
    )


def _validation(given: str) -> str | float | None:
    if given == _NOTHING:
        return None
    try:
        return float(given)
    except ValueError:
        return given
