"""Suites: the data sets that people know a task by, in a TOML file, and what evaluating each means."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gptapps.errors import DataError, GPTAppsError, UnknownNameError
from gptapps.evaluation.preparations import Preparation
from gptapps.evaluation.selection import Sampling
from gptapps.registry import suggestion

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
Text = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataTable(_Table):
    """How rows become examples; :class:`gptapps.evaluation.selection.Reading` says what each key means."""

    columns: Mapping[str, Text] = Field(default_factory=dict)
    where: Mapping[str, str] = Field(default_factory=dict)
    label_names: Mapping[str, Text] = Field(default_factory=dict)
    prepare: Preparation | None = None


class LocalData(DataTable):
    """A copy on this machine.

    Attributes:
        path: below the folder that ``--data-root`` names.
        shots_path: of the data that worked examples are drawn from; None for the first rows of the data.
    """

    path: Text
    shots_path: Text | None = None


class HubData(DataTable):
    """A data set of the hub.

    Attributes:
        id: such as ``"stanfordnlp/sst2"``.
        config: where it has several.
        split: which is evaluated.
        shots_split: that worked examples are drawn from; None for the first rows of the split.
    """

    id: Text
    config: Text | None = None
    split: Text
    shots_split: Text | None = None

    def name(self, split: str) -> str:
        """Return what :func:`gptapps.datasets.read_hub` calls a split."""
        return f"hub:{self.id}{f'#{self.config}' if self.config else ''}:{split}"


class SampleData(DataTable):
    """The rows of ``sample.jsonl`` that lies beside the task's definition."""


class Entry(_Table):
    """One data set of a suite.

    Attributes:
        name: unique in the suite.
        task: a task's name, or the path of a definition, from the suite's folder.
        shots: worked examples taken from data; ``"task"`` for the task's own, where the prompt is plain text.
        seed: of what is drawn and of the bootstrap.
        limit: the most examples unless all are asked for.
        sampling: how those are chosen.
        metrics: instead of the task's.
        baselines: instead of the family's.
        text_language: of the gold, where rows don't say.
        options: of the pipeline's calls.
        local, hub, sample: where the data is; at least one of them.
    """

    name: Name
    task: Text
    shots: Annotated[int, Field(ge=0)] | Literal["task"] = "task"
    seed: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1)] = 300
    sampling: Sampling = "random"
    metrics: tuple[Name, ...] | None = None
    baselines: tuple[Name, ...] | None = None
    text_language: Text | None = None
    options: Mapping[str, Any] = Field(default_factory=dict)
    local: LocalData | None = None
    hub: HubData | None = None
    sample: SampleData | None = None


class Suite(_Table):
    """A suite of entries.

    Attributes:
        schema_version: of this schema.
        summary: one line for people.
        entries: in the order in which they are run and shown.
        name: of the file, without its suffix.
        folder: that the file lies in.
    """

    schema_version: Literal[1]
    summary: Text
    entries: Annotated[tuple[Entry, ...], Field(min_length=1)]
    name: str
    folder: str


_TABLES: Mapping[str, type[_Table]] = {"local": LocalData, "hub": HubData, "sample": SampleData}
_LOADER_KEYS = ("name", "folder")
_REMEDIES = {
    "missing": "is missing; add it",
    "literal_error": "is {input}; choose {expected}",
    "string_type": "is {input}; write a text in quotes",
    "string_pattern_mismatch": "is {input}; write a name of letters, digits, '_', '.' and '-'",
    "int_type": "is {input}; write a whole number",
    "greater_than_equal": "is {input}; write a number of at least {ge}",
}


def suite_names() -> tuple[str, ...]:
    """Return the names of the suites that come with gptapps, sorted."""
    files = (entry.name for entry in _suites_folder().iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def load_suite(name: str) -> Suite:
    """Return a suite.

    Args:
        name: of one that comes with gptapps, or the path of a file of one's own, ending in ``.toml``.

    Raises:
        UnknownNameError: there is no such suite; the message suggests the nearest.
        DataError: the file can't be read or is no suite; names file, key and remedy.

    Example:
        >>> load_suite("smoke").entries[0].sample is not None
        True
    """
    if name.endswith(".toml"):
        return _read(Path(name))
    known = suite_names()
    if name not in known:
        raise UnknownNameError(
            f"There is no suite {name!r}.{suggestion(name, known)} Known: {', '.join(known)}; the path of a suite "
            "of your own, ending in .toml, is one as well."
        )
    return _read(_suites_folder() / f"{name}.toml")


def _suites_folder() -> Path | Traversable:
    package = resources.files("gptapps")
    packed = package / "suites"
    checkout = Path(str(package)).parent / "benchmarks" / "suites"
    for folder in (packed, checkout):
        if folder.is_dir():
            return folder
    raise GPTAppsError(f"The suites are missing: neither {packed} nor {checkout} is a folder; install gptapps again.")


def _read(path: Path | Traversable) -> Suite:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"The suite {path} can't be read ({reason}): give the path of a TOML file.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"The suite {path} is no valid TOML in UTF-8; mend it: {error}.") from None
    problems = [f"'{key}' is not a key of the file: remove it" for key in _LOADER_KEYS if key in raw]
    if not problems:
        name, folder = path.name.removesuffix(".toml"), str(Path(str(path)).parent)
        try:
            suite = Suite.model_validate({**_tuples(raw), "name": name, "folder": folder})
        except ValidationError as error:
            problems = [_problem(details) for details in error.errors()]
        else:
            problems = list(_entry_problems(suite))
            if not problems:
                return suite
    count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    raise DataError(f"The suite {path} has {count}: {'; '.join(problems)}.")


def _entry_problems(suite: Suite) -> Iterator[str]:
    seen: set[str] = set()
    for number, entry in enumerate(suite.entries, 1):
        if entry.name in seen:
            yield f"'entries {number}.name' is {entry.name!r}, which an earlier entry has; give each its own"
        seen.add(entry.name)
        if entry.local is None and entry.hub is None and entry.sample is None:
            yield f"'entries {number}' ({entry.name}) has no data; add a table local, hub or sample"


def _problem(details: Mapping[str, Any]) -> str:
    where, kind = tuple(details["loc"]), details["type"]
    place = "'" + "".join(f" {part + 1}" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") + "'"
    if kind == "extra_forbidden":
        known = _keys_beside(where)
        return f"{place} is not a key there.{suggestion(str(where[-1]), known)} Keys: {', '.join(known)}"
    remedy = _REMEDIES.get(kind, f"is {{input}}; {details['msg'].replace('Input should', 'it should')}")
    return f"{place} {remedy.format(input=_short(details['input']), **details.get('ctx', {}))}"


def _keys_beside(where: tuple[str | int, ...]) -> tuple[str, ...]:
    if len(where) == 1:
        return tuple(key for key in Suite.model_fields if key not in _LOADER_KEYS)
    table = next((_TABLES[str(part)] for part in where[:-1] if part in _TABLES), Entry)
    return tuple(table.model_fields)


def _short(value: object) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
