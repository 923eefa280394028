"""Which tasks there are: built in, from plug-ins, and the user's own file.

A plug-in is an entry point of another distribution in the group ``gptapps.tasks``. Its value is a package whose
folder holds definitions, or one file in it::

    [project.entry-points."gptapps.tasks"]
    poems = "my_package.tasks"
    haiku = "my_package.tasks:haiku.toml"

Nothing is read before a task is first asked for; then every definition is, so that a broken or doubled one is
refused with its name instead of being skipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path

from gptapps.errors import DuplicateNameError, GPTAppsError, TaskDefinitionError, UnknownNameError
from gptapps.registry import HEADS, METRICS, PIPELINES, Registry, suggestion
from gptapps.task_definition import TaskDefinition, load_task_definition

ENTRY_POINT_GROUP = "gptapps.tasks"
_LANGUAGE_PAIR = re.compile(r"translation_([a-z]{2,3})_to_([a-z]{2,3})")


def resolve_task(name: str | os.PathLike[str]) -> TaskDefinition:
    """Return the definition of a task.

    Args:
        name: an id or alias; ``"translation_xx_to_yy"``, which is the task ``translation`` with ``source`` and
            ``target`` set; or the path of a definition of one's own, ending in ``.toml``.

    Raises:
        UnknownNameError: there is no such task; the message suggests the nearest name.
        TaskDefinitionError: a definition is malformed, or names a pipeline, head or metric nobody registered.
        DuplicateNameError: two definitions claim one name.
        GPTAppsError: the built-in tasks, or those of a plug-in, can't be found.

    Example:
        >>> resolve_task("translation_en_to_fr").defaults.target
        'fr'
    """
    return _installed().resolve(name)


def tasks() -> tuple[TaskDefinition, ...]:
    """Return every built-in and plug-in definition, sorted by id; raises what :func:`resolve_task` raises."""
    return _installed().tasks()


class TaskCatalog:
    """Definitions by id and alias.

    Args:
        folder: holds the built-in definitions, one folder a family.
        plugins: gives the entry points of the plug-ins.

    Example:
        >>> TaskCatalog(Path("tasks"), plugins=lambda: ()).resolve("summarization").id
        'summarize'
    """

    def __init__(self, folder: Path | Traversable, plugins: Callable[[], Iterable[metadata.EntryPoint]]) -> None:
        definitions = [(load_task_definition(path), f"gptapps ({path})") for path in _toml_files(folder)]
        for point in plugins():
            origin = f"the distribution {point.dist.name!r}" if point.dist else f"the entry point {point.name!r}"
            definitions += [(load_task_definition(path), f"{origin} ({path})") for path in _plugin_files(point, origin)]
        self._names: dict[str, TaskDefinition] = {}
        origins: dict[str, str] = {}
        for definition, origin in definitions:
            for name in (definition.id, *definition.aliases):
                if name in origins:
                    raise DuplicateNameError(
                        f"The task name {name!r} is claimed twice, by {origins[name]} and by {origin}: "
                        "give one of the two another name."
                    )
                origins[name] = origin
                self._names[name] = definition

    def tasks(self) -> tuple[TaskDefinition, ...]:
        """Return every definition, sorted by id."""
        found = {definition.id: definition for definition in self._names.values()}
        return tuple(_checked(found[name]) for name in sorted(found))

    def resolve(self, name: str | os.PathLike[str]) -> TaskDefinition:
        """Return the definition of a task; see :func:`resolve_task`."""
        if isinstance(name, os.PathLike) or name.lower().endswith(".toml"):
            return _checked(load_task_definition(Path(name)))
        pair = _LANGUAGE_PAIR.fullmatch(name)
        if pair and name not in self._names:
            definition = self.resolve("translation")
            languages = {"source": pair[1], "target": pair[2]}
            return definition.model_copy(update={"defaults": definition.defaults.model_copy(update=languages)})
        if name not in self._names:
            raise UnknownNameError(
                f"There is no task {name!r}.{suggestion(name, self._names)} Known: "
                f"{', '.join(definition.id for definition in self.tasks())}; the path of a definition of your "
                "own, ending in .toml, is a task as well."
            )
        return _checked(self._names[name])


@lru_cache(maxsize=1)
def _installed() -> TaskCatalog:
    return TaskCatalog(_builtin_folder(), lambda: metadata.entry_points(group=ENTRY_POINT_GROUP))


def _builtin_folder() -> Path | Traversable:
    package = resources.files("gptapps")
    packed = package / "tasks"
    checkout = Path(str(package)).parent / "tasks"
    for folder in (packed, checkout):
        if folder.is_dir():
            return folder
    raise GPTAppsError(
        f"The built-in tasks are missing: neither {packed} nor {checkout} is a folder; install gptapps again."
    )


def _toml_files(folder: Path | Traversable) -> Iterator[Path | Traversable]:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir():
            yield from _toml_files(entry)
        elif entry.name.lower().endswith(".toml"):
            yield entry


def _plugin_files(point: metadata.EntryPoint, origin: str) -> list[Path | Traversable]:
    package, _, file = point.value.partition(":")
    package, file = package.strip(), file.strip()
    try:
        folder = resources.files(package)
    except (ImportError, TypeError) as error:
        raise GPTAppsError(
            f"The tasks of {origin} can't be found, because {package!r} is no importable package: {error}."
        ) from error
    if file:
        return [folder / file]
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".toml")]
    if not found:
        raise TaskDefinitionError(
            f"The entry point {point.name!r} of {origin} names the package {package!r}, whose folder holds no "
            ".toml file; put the definition there, or name it after a colon."
        )
    return sorted(found, key=lambda entry: entry.name)


def _checked(definition: TaskDefinition) -> TaskDefinition:
    _require(definition, "pipeline", PIPELINES, (definition.pipeline,))
    _require(definition, "head", HEADS, (definition.head,))
    _require(definition, "metrics", METRICS, definition.metrics)
    return definition


def _require(definition: TaskDefinition, key: str, registry: Registry, names: tuple[str, ...]) -> None:
    known = registry.names()
    for name in names:
        if name not in known:
            raise TaskDefinitionError(
                f"The task definition {definition.origin} names under '{key}' the {registry.kind} {name!r}, which "
                f"nobody registered.{suggestion(name, known)} Known: {', '.join(known)}."
            )
