"""From a TOML file to a TaskDefinition, with errors a person can act on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from gptapps.errors import TaskDefinitionError
from gptapps.registry import suggestion
from gptapps.task_definition.checks import Problem, definition_problems
from gptapps.task_definition.schema import NAME_PATTERN, Defaults, PromptTexts, TaskDefinition

_LOADER_KEYS = ("id", "origin")
_FILE_KEYS = tuple(key for key in TaskDefinition.model_fields if key not in _LOADER_KEYS)
_KEYS_OF = {"prompts": tuple(PromptTexts.model_fields), "defaults": tuple(Defaults.model_fields)}
_MISSING = {
    "schema_version": ": schema_version = 1",
    "pipeline": ', such as pipeline = "classification"',
    "prompts": ": a table [prompts.en] with 'user' or 'plain'",
    "summary": ": one line that says what the task does",
}
_REMEDIES = {
    "string_type": "write a text in quotes",
    "string_too_short": "write a text that is not empty",
    "string_pattern_mismatch": "write a name that matches {pattern}",
    "tuple_type": 'write a list, such as ["a", "b"]',
    "mapping_type": "write a table",
    "model_type": "write a table",
    "int_type": "write a whole number",
    "float_type": "write a number",
    "literal_error": "choose {expected}",
    "greater_than": "write a number above {gt}",
    "greater_than_equal": "write a number of at least {ge}",
    "less_than_equal": "write a number of at most {le}",
    "too_short": "write at least {min_length} entry",
}


def load_task_definition(path: Path | Traversable) -> TaskDefinition:
    """Read and check the task definition at ``path``; its id is the file's stem.

    Args:
        path: a TOML file, on disk or inside an installed package.

    Returns:
        The definition. Whether its pipeline, head and metrics are registered is the catalogue's business.

    Raises:
        TaskDefinitionError: the file can't be read or is no valid definition; the message names the file and,
            for every mistake in it, the key and the remedy.

    Example:
        >>> load_task_definition(Path("tasks/classification/classify.toml")).pipeline
        'classification'
    """
    raw = _read_toml(path)
    stem = PurePath(path.name).stem
    problems = list(_loader_problems(raw, stem))
    if not problems:
        try:
            definition = TaskDefinition.model_validate({**_tuples(raw), "id": stem, "origin": str(path)})
        except ValidationError as error:
            problems = [_schema_problem(details) for details in error.errors()]
        else:
            problems = list(definition_problems(definition))
            if not problems:
                return definition
    raise TaskDefinitionError(_sentence(path, problems))


def _read_toml(path: Path | Traversable) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TaskDefinitionError(f"There is no task definition {path}; check the path.") from None
    except OSError as error:
        raise TaskDefinitionError(
            f"The task definition {path} can't be read: {error.strerror}; give the path of a TOML file."
        ) from error
    except UnicodeDecodeError as error:
        raise TaskDefinitionError(f"The task definition {path} is not UTF-8; save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise TaskDefinitionError(f"The task definition {path} is not valid TOML; mend it: {error}.") from error


def _loader_problems(raw: Mapping[str, Any], stem: str) -> Iterator[Problem]:
    for key in _LOADER_KEYS:
        if key in raw:
            yield (key,), "is not a key of the file: a task's id is the file's name; remove it"
    if not re.fullmatch(NAME_PATTERN, stem):
        yield (), f"the file's name {stem!r} can't be a task's id; rename it with letters, digits, '_' and '-'"


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _schema_problem(details: Mapping[str, Any]) -> Problem:
    where, kind = tuple(details["loc"]), details["type"]
    if kind == "extra_forbidden":
        known = _KEYS_OF.get(str(where[0]), ()) if len(where) > 1 else _FILE_KEYS
        nearest = suggestion(str(where[-1]), known)
        return where, f"is not a key there.{nearest} Keys: {', '.join(known)}"
    if kind == "missing":
        return where, f"is missing; add it{_MISSING.get(str(where[-1]), '')}"
    if where[-1] == "schema_version":
        return where, f"is {details['input']!r}; this release of gptapps reads 1: write schema_version = 1"
    remedy = _REMEDIES.get(kind) or details["msg"].replace("Input should", "it should")
    return where, f"is {_short(details['input'])}; {remedy.format(**details.get('ctx', {}))}"


def _short(value: object) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _sentence(path: Path | Traversable, problems: Sequence[Problem]) -> str:
    texts = [f"{_place(where)} {what}".lstrip() for where, what in problems]
    if len(texts) == 1:
        return f"The task definition {path} has a mistake: {texts[0]}."
    listed = "; ".join(f"({number}) {text}" for number, text in enumerate(texts, 1))
    return f"The task definition {path} has {len(texts)} mistakes: {listed}."


def _place(where: tuple[str | int, ...]) -> str:
    place = ""
    for part in where:
        if isinstance(part, int):
            place += f" entry {part + 1}"
        elif part != "[key]":  # pydantic's word for "the key itself, not its value"
            place += f".{part}" if place else part
    return f"'{place}'" if place else ""
