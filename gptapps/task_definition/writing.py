"""From a TaskDefinition back to the TOML file that says the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gptapps.task_definition.schema import TaskDefinition

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_NOT_IN_FILES = {"id", "origin"}


def task_definition_toml(definition: TaskDefinition) -> str:
    """Return the text of a file that :func:`~gptapps.task_definition.load_task_definition` reads as ``definition``.

    The file's name isn't in it, and so neither is the task's id.

    Example:
        >>> print(task_definition_toml(resolve_task("sentiment")).splitlines()[0])     # doctest: +SKIP
        schema_version = 1
    """
    said = definition.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_IN_FILES)
    return "\n".join(_table({"schema_version": definition.schema_version, **said})) + "\n"


def _table(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    below = {key: value for key, value in values.items() if _is_below(value)}
    for key, value in values.items():
        if key not in below:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in below.items():
        name = f"{path}.{_key(key)}" if path else _key(key)
        many = not isinstance(value, Mapping)
        for one in value if many else [value]:
            if many or not all(map(_is_below, one.values())):
                yield ""
                yield f"[[{name}]]" if many else f"[{name}]"
            yield from _table(one, name)


def _is_below(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(x, Mapping) for x in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    # JSON's strings, numbers and truth values are TOML's, but for one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
