"""Who imports whom, and the few rules that every file keeps; the checker is tried on trees that break each rule."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from architecture import MAX_LINES, ROOMS, modules, violations

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gptapps"
OPTIONAL = {
    "integrations": ("lm-eval", "ray", "transformers"),
    "kernels": ("gpu",),
    "lm_eval": ("lm-eval",),
    "training": ("train",),
}
"""Rooms that need what extras bring, for which they ask in a sentence."""


def test_the_house_keeps_its_rules() -> None:
    assert violations(PACKAGE) == []


def test_every_import_from_elsewhere_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {*_names(project["dependencies"])}
    extras = {
        room: {name for extra in brought for name in _names(project["optional-dependencies"][extra])}
        for room, brought in OPTIONAL.items()
    }
    brought_by = packages_distributions()
    undeclared = {
        f"{module.name}:{line}: {top}"
        for module in modules(PACKAGE)
        for line, name in module.imports()
        if (top := name.partition(".")[0]) not in (*sys.stdlib_module_names, PACKAGE.name)
        and not (declared | extras.get(module.room, set()))
        & {_normal(distribution) for distribution in brought_by.get(top, ())}
    }
    assert sorted(undeclared) == []


def test_every_room_stands_in_one_line() -> None:
    rooms = [room for line in ROOMS for room in line]
    assert len(rooms) == len(set(rooms))
    for line in ROOMS:
        for room, neighbours in line.items():
            assert set(neighbours) <= set(line) - {room}


CLEAN = {
    "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.pipelines.base import Base\n",
    "__main__.py": "from house.cli import main\n",
    "errors.py": '"""No imports."""\n',
    "registry.py": "from house.errors import HouseError\n",
    "outputs.py": "import pydantic\n",
    "examples.py": "from house.outputs import Record\n",
    "kernels/__init__.py": "from house.kernels.reference import attention\n",
    "kernels/reference.py": "import torch\n",
    "metrics/__init__.py": "import numpy\n",
    "backbone/__init__.py": "",
    "backbone/gpt.py": "import torch\nfrom house import kernels\nfrom .config import Config\nfrom ..errors import E\n",
    "backbone/config.py": "",
    "wheel_download.py": "from house.packaged_models import MODELS\n",
    "packaged_models.py": "",
    "pipelines/base.py": "from house.backbone import gpt\n",
    "cli/__init__.py": "import house\nfrom house.cli.app import main\n",
    "cli/app.py": 'import house\n"""assert print(1)"""\n',
}


def house(tmp_path: Path, **changes: str) -> Path:
    """Lay out a small package that keeps every rule, but for ``changes``: path with dots -> source."""
    package = tmp_path / "house"
    for name, source in {**CLEAN, **changes}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


def test_a_tree_that_keeps_the_rules_passes(tmp_path: Path) -> None:
    assert violations(house(tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("errors.py", "import house.registry", "1: errors imports registry, which stands above it"),
        ("errors.py", "from house import registry", "1: errors imports registry, which stands above it"),
        ("errors.py", "from . import registry", "1: errors imports registry, which stands above it"),
        ("errors.py", "from .registry import get", "1: errors imports registry, which stands above it"),
        ("backbone/gpt.py", "from ..pipelines.base import B", "1: backbone imports pipelines, which stands above it"),
        ("backbone/__init__.py", "from .. import pipelines", "1: backbone imports pipelines, which stands above it"),
        ("kernels/one.py", "def f():\n    import house.backbone", "2: kernels imports backbone, which stands above it"),
        (
            "kernels/one.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.backbone.gpt as gpt",
            "3: kernels imports backbone, which stands above it",
        ),
        ("backbone/gpt.py", "import house", "1: backbone imports __init__, which stands above it"),
        ("pipelines/base.py", "from house import pipeline", "1: pipelines imports __init__, which stands above it"),
        ("__init__.py", "from house.cli import main", "1: __init__ imports cli, which stands above it"),
        ("metrics/__init__.py", "from house import kernels", "1: metrics imports kernels, its neighbour"),
        ("kernels/one.py", "import house.metrics", "1: kernels imports metrics, its neighbour"),
        ("outputs.py", "import house.examples", "1: outputs imports examples, its neighbour"),
        ("cache_files.py", "import house.wheel_download", "1: cache_files imports wheel_download, its neighbour"),
        ("metrics/bleu.py", "def f():\n    import torch.nn", "2: metrics never imports torch"),
        ("metrics/bleu.py", "from torch import Tensor", "1: metrics never imports torch"),
        ("cellar.py", "", "1: belongs to no room"),
        ("cellar/__init__.py", "", "1: belongs to no room"),
        ("errors.py", "def f(x):\n    assert x", "2: bare assert"),
        ("errors.py", "def f(x):\n    print(x)", "2: print"),
        ("errors.py", "\n" * (MAX_LINES + 1), f"{MAX_LINES + 1}: more than {MAX_LINES} lines"),
        ("backbone/gpt.py", "# for summaries", "1: backbone names a task ('summar')"),
        ("backbone/gpt.py", "class AnswerHead: ...", "1: backbone names a task ('Answer')"),
    ],
)
def test_what_breaks_a_rule_is_found(tmp_path: Path, name: str, source: str, expected: str) -> None:
    assert violations(house(tmp_path, **{name: source})) == [f"{name}:{expected}"]


def test_the_checker_reads_every_file_of_the_package() -> None:
    assert len(modules(PACKAGE)) > 50
    assert all(isinstance(module.tree, ast.Module) for module in modules(PACKAGE))


def _names(requirements: Iterable[str]) -> Iterator[str]:
    for line in requirements:
        yield _normal(re.split(r"[^\w.-]", line, maxsplit=1)[0])


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
