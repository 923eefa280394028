"""The options that say which data a task is learned from, and how its rows are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gptapps.errors import OptionError

if TYPE_CHECKING:
    from gptapps.training.data import DataPlan

_NOTHING = "none"


def data_options() -> Iterator[click.Parameter]:
    """Yield the argument DATA and the options that :func:`data_plan` understands."""
    yield click.Argument(["data"])
    yield click.Option(
        ["--validation"],
        default="0.1",
        metavar="FILE|SHARE|none",
        help="Other data to try it on, or the share of DATA that is set aside for that; 0.1 by default.",
    )
    yield from reading_options("The most rows of DATA to take.")


def reading_options(limit: str) -> Iterator[click.Option]:
    """Yield the options that say how rows become examples and which of them are taken.

    Args:
        limit: what ``--limit`` says in a help text.
    """
    pair: dict[str, Any] = {"multiple": True, "metavar": "NAME=VALUE,..."}
    yield click.Option(["--columns"], **pair, help="Which column a field is, such as text=sentence,label=target.")
    yield click.Option(["--where"], **pair, help="Take only rows whose column has that value, such as language=en.")
    yield click.Option(
        ["--label-names"], **pair, help="What labels in the data stand for, such as 0=negative,1=positive."
    )
    yield click.Option(["--limit"], type=click.IntRange(min=1), help=limit)
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


def name_value_pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Return what an option gives as NAME=VALUE, several separated by commas.

    Raises:
        OptionError: a part is of another form.
    """
    pairs = {}
    for part in (part for one in given for part in one.split(",")):
        name, equals, value = part.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise OptionError(f"--{option} has {part!r}: write NAME=VALUE, several separated by commas.")
        pairs[name.strip()] = value.strip()
    return pairs


def _validation(given: str) -> str | float | None:
    if given == _NOTHING:
        return None
    try:
        return float(given)
    except ValueError:
        return given
