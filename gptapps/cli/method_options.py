"""Command-line options of training methods, made from the methods' own."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import click
from pydantic.fields import FieldInfo

from gptapps.errors import OptionError


def method_options(kinds: Mapping[str, type]) -> Iterator[click.Option]:
    """Yield an option for each option of some methods, one for those that several methods share.

    Args:
        kinds: method -> the ``TypedDict`` of its options.
    """
    owners: dict[str, list[str]] = {}
    annotations: dict[str, Any] = {}
    for method, kind in kinds.items():
        for name, annotation in typing.get_type_hints(kind, include_extras=True).items():
            owners.setdefault(name, []).append(method)
            annotations.setdefault(name, annotation)
    for name, annotation in annotations.items():
        whose = "" if len(owners[name]) == len(kinds) else f" ({', '.join(owners[name])})"
        yield _option(name, annotation, whose)


def method_values(given: Mapping[str, Any], kinds: Iterable[type]) -> dict[str, Any]:
    """Return what the command line gave for the options of some methods; those that weren't given are left out.

    Raises:
        OptionError: a list of numbers that holds something else.
    """
    values: dict[str, Any] = {}
    for kind in kinds:
        for name, annotation in typing.get_type_hints(kind, include_extras=True).items():
            if given.get(name) not in (None, ()):
                values[name] = _value(name, given[name], _item_type(annotation))
    return values


def _option(name: str, annotation: Any, whose: str) -> click.Option:
    type_, description = _bare(annotation), _description(annotation)
    flag = "--" + name.replace("_", "-")
    help = f"{description[:1].upper()}{description[1:]}{whose}."
    if typing.get_origin(type_) is Literal:
        return click.Option([flag], type=click.Choice(typing.get_args(type_)), help=help)
    if type_ is bool:
        return click.Option([flag], is_flag=True, default=None, help=help)
    if (item := _item_type(annotation)) is not None:
        kind = "NUMBER" if item in (int, float) else "NAME"
        return click.Option([flag], metavar=f"{kind},...", help=help)
    return click.Option([flag], type=type_, help=help)


def _value(name: str, given: Any, item: Any) -> Any:
    if item is None:
        return given
    parts = [part.strip() for part in str(given).split(",") if part.strip()]
    try:
        return [item(part) for part in parts] if item in (int, float) else parts
    except ValueError:
        raise OptionError(f"--{name.replace('_', '-')} is {given!r}: write numbers separated by commas.") from None


def _item_type(annotation: Any) -> Any:
    """Return of what a list is, None for what is no list."""
    bare = _bare(annotation)
    is_list = isinstance(typing.get_origin(bare), type) and issubclass(typing.get_origin(bare), Iterable)
    return _bare(typing.get_args(bare)[0]) if is_list else None


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def _description(annotation: Any) -> str:
    metadata = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    return next((one.description for one in metadata if isinstance(one, FieldInfo) and one.description), "")
