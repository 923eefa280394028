"""What a person installs: the wheel and the sdist hold everything, and a clean environment needs nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gptapps
from gptapps.task_catalog import tasks

ROOT = Path(__file__).resolve().parent.parent
STEM = f"gptapps-{gptapps.__version__}"
PACKED = {ROOT / "tasks": "gptapps/tasks", ROOT / "benchmarks" / "suites": "gptapps/suites"}
DATA = {
    path: f"{place}/{path.relative_to(folder).as_posix()}"
    for folder, place in PACKED.items()
    for path in folder.rglob("*.*")
}
"""The files that are data here and part of the package in the wheel."""

IMPORT_ALL = """
import importlib, pkgutil, gptapps
for module in pkgutil.walk_packages(gptapps.__path__, "gptapps."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:  # what the extras lm-eval and gpu bring
        rooms = {"lm_eval": "gptapps.integrations.lm_eval", "triton": "gptapps.kernels.gpu"}
        if not module.name.startswith(rooms.get(error.name, "nothing")):
            raise
print(gptapps.__file__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and, made from it, the wheel; a wheel made from the checkout lies in ``direct``."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation"]
    subprocess.run([*build, "--outdir", folder, ROOT], check=True, capture_output=True)
    subprocess.run([*build, "--wheel", "--outdir", folder / "direct", ROOT], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel that was made from the sdist."""
    return built / f"{STEM}-py3-none-any.whl"


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel and what it depends on, linked to where it is installed here."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder)
    programs = folder / "bin"
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        own = metadata.PathDistribution(zipfile.Path(archive, f"{STEM}.dist-info/"))
        link(dependencies(own), packages)
    install = [programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    subprocess.run([*install, wheel], check=True, env=environment())
    return programs


def dependencies(own: metadata.Distribution) -> list[metadata.Distribution]:
    """Return the distributions that one depends on, and those that they depend on, as they are installed here."""
    waiting = [(own, "")]
    seen: set[tuple[str, str]] = set()
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        distribution, extra = waiting.pop()
        for requirement in map(Requirement, distribution.requires or []):
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            needed = found.setdefault(name, metadata.distribution(name))
            assert requirement.specifier.contains(needed.version, prereleases=True)
            news = {(name, one) for one in ("", *requirement.extras)} - seen
            seen |= news
            waiting += [(needed, one) for _, one in news]
    return list(found.values())


def link(distributions: list[metadata.Distribution], packages: Path) -> None:
    """Make packages and metadata of distributions appear in ``packages``: each file, or a whole folder of one alone."""
    places: dict[Path, Path] = {}
    owners: dict[str, set[str]] = {}
    for distribution in distributions:
        files = [file for file in distribution.files or [] if not {"..", "__pycache__"} & set(file.parts)]
        assert files
        for file in files:
            places[Path(file)] = Path(str(distribution.locate_file(file)))
            owners.setdefault(file.parts[0], set()).add(distribution.metadata["Name"])
    for place, target in places.items():
        top = place.parts[0]
        whole = len(place.parts) > 1 and len(owners[top]) == 1
        source = target.parents[len(place.parts) - 2] if whole else target
        linked = packages / (top if whole else place)
        if not linked.is_symlink():
            linked.parent.mkdir(parents=True, exist_ok=True)
            linked.symlink_to(source)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A working directory outside the checkout, with a module that must not be taken for the tasks."""
    (tmp_path / "tasks.py").write_text('raise RuntimeError("a stray tasks.py was imported")\n')
    return tmp_path


def environment() -> dict[str, str]:
    """Return this process's environment without what would lead to the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the clean environment."""
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)


def contents(path: Path) -> dict[str, bytes]:
    """Return the files of a wheel, without the list that pip makes of them."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def test_the_wheel_holds_the_package_the_tasks_and_the_suites(wheel: Path) -> None:
    files = contents(wheel)
    assert {name.partition("/")[0] for name in files} == {"gptapps", f"{STEM}.dist-info"}
    expected = {path: f"gptapps/{path.relative_to(ROOT / 'gptapps').as_posix()}" for path in _sources()} | DATA
    for path, name in expected.items():
        assert files[name] == path.read_bytes()
    assert set(files) - set(expected.values()) == {
        f"{STEM}.dist-info/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    suffixes = {path.name if path.suffix == ".md" else path.suffix for path in DATA}
    assert {".toml", ".jsonl", "README.md"} <= suffixes


def test_the_sdist_holds_what_the_wheel_is_made_of(built: Path) -> None:
    with tarfile.open(built / f"{STEM}.tar.gz") as archive:
        names = {name.removeprefix(f"{STEM}/") for name in archive.getnames()}
    wanted = {path.relative_to(ROOT).as_posix() for path in [*_sources(), *DATA]}
    wanted |= {"pyproject.toml", "LICENSE", "README.md", "README.zh-CN.md", "CHANGELOG.md", "examples/harbour.txt"}
    wanted |= {"tests/conftest.py", "tests/test_built_wheel.py", "docs/design.md"}
    assert wanted <= names
    assert {name for name in names if name.startswith(".")} <= {".gitignore", ".ci/run"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_wheel_is_the_same_from_the_sdist_and_from_the_checkout(built: Path, wheel: Path) -> None:
    assert contents(built / "direct" / wheel.name) == contents(wheel)


def test_every_module_can_be_imported_with_the_declared_dependencies_alone(clean: Path, elsewhere: Path) -> None:
    result = run(clean / "python", "-c", IMPORT_ALL, cwd=elsewhere)
    assert (result.returncode, result.stderr) == (0, "")
    assert Path(result.stdout.strip()).is_relative_to(clean.parent)
    assert run(clean / "python", "-m", "pip", "check", cwd=elsewhere).returncode == 0


def test_the_tasks_are_those_of_the_checkout(clean: Path, elsewhere: Path) -> None:
    for command in ([clean / "gptapps"], [clean / "python", "-m", "gptapps"]):
        result = run(*command, "tasks", cwd=elsewhere)
        assert (result.returncode, result.stderr) == (0, "")
        listed = [line.split()[0] for line in result.stdout.splitlines() if not line.startswith(" ")]
        assert listed == [definition.id for definition in tasks()]


@pytest.mark.network
@pytest.mark.usefixtures("default_gguf")
def test_a_task_runs_on_the_default_model(clean: Path, elsewhere: Path) -> None:
    result = run(clean / "gptapps", "sentiment", "--text", "The soup was cold and the waiter rude.", cwd=elsewhere)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("negative\t")


def _sources() -> list[Path]:
    return [path for path in (ROOT / "gptapps").rglob("*") if path.suffix in (".py", ".typed", ".j2", ".css")]
