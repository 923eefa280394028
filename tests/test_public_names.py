"""The public face: every exported name is there, documented, and comes from where the package says."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import pytest
from architecture import modules

import gptapps
from gptapps import errors

PACKAGE = Path(gptapps.__file__).parent
MODULES = modules(PACKAGE)
NAMES = [name for name in gptapps.__all__ if name != "__version__"]

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def test_all_homes_and_dir_name_the_same() -> None:
    assert sorted(NAMES) == sorted(gptapps._HOMES)
    assert dir(gptapps) == sorted(gptapps.__all__)
    assert len(set(gptapps.__all__)) == len(gptapps.__all__)


def test_a_type_checker_sees_the_same_names() -> None:
    seen = {
        alias.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(gptapps)))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gptapps.")
        for alias in node.names
    }
    assert seen == gptapps._HOMES


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(gptapps, name)
    assert value.__name__ == name
    assert value.__module__ == gptapps._HOMES[name]
    assert inspect.getdoc(value)
    assert vars(gptapps)[name] is value  # found at once from the second time on


def test_an_unknown_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'gptapps' has no attribute 'pipelin'"):
        gptapps.pipelin  # noqa: B018


def test_star_import_brings_the_public_names() -> None:
    code = "from gptapps import *; import gptapps, sys; sys.exit(not set(gptapps.__all__) <= set(globals()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_that_of_the_distribution() -> None:
    assert gptapps.__version__ == metadata.version("gptapps")


def test_every_module_says_what_it_is_for() -> None:
    assert [module.name for module in MODULES if not ast.get_docstring(module.tree)] == []


def test_whatever_is_public_has_a_docstring() -> None:
    silent = [
        f"{module.name}:{node.lineno}: {node.name}"
        for module in MODULES
        for node in _public_definitions(module.tree)
        if not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_module_has_the_names_it_exports() -> None:
    missing = []
    for module in MODULES:
        name = f"{PACKAGE.name}.{module.name.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")
        if name != "gptapps.__main__":  # running is what that one does
            imported = import_module(name)
            missing += [(name, other) for other in getattr(imported, "__all__", ()) if not hasattr(imported, other)]
    assert missing == []


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for match in re.finditer(r"^([ │├└─]*)(\w+Error) +\S", errors.__doc__ or "", re.MULTILINE):
        depth, name = len(match[1]), match[2]
        above = [other for other in above if other[0] < depth]
        drawn[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    assert drawn == {
        name: value.__bases__[0].__name__ for name, value in vars(errors).items() if inspect.isclass(value)
    }


def _public_definitions(body: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Yield functions, classes and methods whose names promise something; of overloads the one with the code."""
    for node in body.body:
        if isinstance(node, Definition) and (not node.name.startswith("_") or node.name == "__call__"):
            if not any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list):
                yield node
            if isinstance(node, ast.ClassDef):
                yield from _public_definitions(node)
