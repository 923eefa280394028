"""The order of the rooms, and a checker that reads it off the syntax tree of a package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Rooms = Sequence[Mapping[str, tuple[str, ...]]]

ROOMS: Rooms = (
    {"errors": ()},
    {"registry": (), "outputs": (), "examples": ("outputs",)},
    {"kernels": (), "metrics": ()},
    {"backbone": ()},
    {"heads": ()},
    {"tokenization": (), "task_definition": (), "datasets": ()},
    {
        "packaged_models": (),
        "cache_files": (),
        "wheel_download": ("packaged_models", "cache_files"),
        "packaged_copy": ("packaged_models", "cache_files", "wheel_download"),
        "hub_download": ("cache_files", "wheel_download"),
        "model_store": ("packaged_models", "cache_files", "wheel_download", "packaged_copy", "hub_download"),
        "trained_model": (),
        "prompts": (),
        "task_catalog": (),
    },
    {"decoding": ()},
    {"pipelines": ()},
    {"evaluation": ()},
    {"training": ()},
    {"integrations": ()},
    {"__init__": ()},
    {"cli": (), "__main__": ("cli",), "lm_eval": (), "sklearn": ()},
)
"""One line a storey, the ground floor first: a room may import those of the lines above its own, and of its own line
those it names. ``__init__`` is the package's public face."""

FORBIDDEN_LIBRARIES = {"metrics": ("torch",)}

TASK_WORDS = re.compile(r"classif|summar|translat|question|answer|sentiment|perplexit|\blabels?\b", re.IGNORECASE)
NAMELESS = ("backbone",)
"""Rooms that never name what they are used for."""

MAX_LINES = 300


@dataclass(frozen=True)
class Module:
    """A source file of the package ``package``."""

    package: Path
    path: Path

    @cached_property
    def source(self) -> str:
        """What it says."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.source)

    @property
    def name(self) -> str:
        """Its path inside the package."""
        return self.path.relative_to(self.package).as_posix()

    @property
    def room(self) -> str:
        """The part of the package it belongs to."""
        return self.name.split("/")[0].removesuffix(".py")

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and dotted name of whatever is imported anywhere in the module, under TYPE_CHECKING as well."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = [self.package.name, *self.name.split("/")[:-1]] if node.level else []
                base = base[: len(base) - node.level + 1] + (node.module or "").split(".")
                yield from ((node.lineno, ".".join([*filter(None, base), alias.name])) for alias in node.names)


def modules(package: Path) -> list[Module]:
    """Return every module below ``package``."""
    return [Module(package, path) for path in sorted(package.rglob("*.py"))]


def violations(package: Path, rooms: Rooms = ROOMS) -> list[str]:
    """Return what breaks a rule in the package, as ``"file:line: what"``."""
    found = modules(package)
    return [
        *(line for module in found for line in _import_violations(module, rooms, {other.room for other in found})),
        *(line for module in found for line in _statement_violations(module)),
        *(line for module in found for line in _text_violations(module)),
    ]


def _import_violations(module: Module, rooms: Rooms, existing: set[str]) -> Iterator[str]:
    storey = {room: number for number, line in enumerate(rooms) for room in line}
    if module.room not in storey:
        yield f"{module.name}:1: belongs to no room"
        return
    own = storey[module.room]
    for line, name in module.imports():
        top, _, inside = name.partition(".")
        if top in FORBIDDEN_LIBRARIES.get(module.room, ()):
            yield f"{module.name}:{line}: {module.room} never imports {top}"
        if top != module.package.name:
            continue
        # `from package import name`: a room of that name, or else something of the public face.
        room = inside.split(".")[0]
        room = room if room in existing else "__init__"
        if room == module.room or room not in storey:
            continue
        if storey[room] > own:
            yield f"{module.name}:{line}: {module.room} imports {room}, which stands above it"
        elif storey[room] == own and room not in rooms[own][module.room]:
            yield f"{module.name}:{line}: {module.room} imports {room}, its neighbour"


def _statement_violations(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assert):
            yield f"{module.name}:{node.lineno}: bare assert"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.name}:{node.lineno}: print"


def _text_violations(module: Module) -> Iterator[str]:
    lines = module.source.splitlines()
    if len(lines) > MAX_LINES:
        yield f"{module.name}:{len(lines)}: more than {MAX_LINES} lines"
    if module.room in NAMELESS:
        for number, line in enumerate(lines, 1):
            if word := TASK_WORDS.search(line):
                yield f"{module.name}:{number}: {module.room} names a task ({word[0]!r})"
