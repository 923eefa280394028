"""Tasks by id, alias, path and plug-in; nothing broken or doubled is skipped."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from gptapps.errors import DuplicateNameError, GPTAppsError, TaskDefinitionError, UnknownNameError
from gptapps.task_catalog import TaskCatalog, resolve_task, tasks
from gptapps.task_definition import load_task_definition

ECHO = """
schema_version = 1
pipeline = "generation"
summary = "Says it again"
aliases = ["parrot"]
prompts.en.user = "{{ text }}"
"""


def write(path: Path, content: str = ECHO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def point(value: str, name: str = "birds") -> EntryPoint:
    return EntryPoint(name, value, "gptapps.tasks")


def catalog(folder: Path, *points: EntryPoint) -> TaskCatalog:
    return TaskCatalog(folder, plugins=lambda: points)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "builtin").mkdir()
    return tmp_path / "builtin"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site" / f"plugin_{tmp_path.name}"  # an imported name lives on: each test has its own
    write(folder / "__init__.py", "")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("multiple-choice", "choose"),
        ("summarize", "summarize"),
        ("summarization", "summarize"),
        ("classify", "classify"),
        ("text-classification", "classify"),
        ("zero-shot-classification", "classify"),
        ("sentiment", "sentiment"),
        ("answer", "answer"),
        ("question-answering", "answer"),
        ("translate", "translate"),
        ("translation", "translate"),
        ("generate", "generate"),
        ("text-generation", "generate"),
        ("score", "score"),
    ],
)
def test_built_in_tasks_answer_to_their_verbs_and_aliases(name: str, expected: str) -> None:
    assert resolve_task(name).id == expected


def test_every_task_is_listed_once() -> None:
    ids = [definition.id for definition in tasks()]
    assert ids == ["answer", "choose", "classify", "generate", "score", "sentiment", "summarize", "tag", "translate"]


def test_a_language_pair_in_the_name_sets_source_and_target() -> None:
    pair = resolve_task("translation_en_to_fr")
    assert (pair.id, pair.defaults.source, pair.defaults.target) == ("translate", "en", "fr")
    assert pair.defaults.overflow == resolve_task("translate").defaults.overflow
    assert resolve_task("translate").defaults.source is None


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no task 'sumarize'\. Did you mean 'summarize'\? Known: answer, "):
        resolve_task("sumarize")


@pytest.mark.parametrize("as_text", [True, False])
def test_the_users_own_file_is_a_task(tmp_path: Path, as_text: bool) -> None:
    path = write(tmp_path / "classify.toml")  # a built-in's name is no hindrance: the path says which is meant
    definition = resolve_task(str(path) if as_text else path)
    assert (definition.id, definition.summary) == ("classify", "Says it again")


def test_a_path_that_leads_nowhere_is_said_to() -> None:
    with pytest.raises(TaskDefinitionError, match=r"no task definition nowhere/mine\.toml"):
        resolve_task("nowhere/mine.toml")


def test_a_plugins_folder_brings_its_definitions(empty: Path, package: Path) -> None:
    write(package / "echo.toml")
    write(package / "mirror.toml", ECHO.replace("parrot", "glass"))
    found = catalog(empty, point(package.name))
    assert [definition.id for definition in found.tasks()] == ["echo", "mirror"]
    assert found.resolve("glass").id == "mirror"


def test_a_plugin_may_name_one_file(empty: Path, package: Path) -> None:
    write(package / "echo.toml")
    write(package / "mirror.toml", ECHO.replace("parrot", "glass"))
    found = catalog(empty, point(f"{package.name}:mirror.toml"))
    assert [definition.id for definition in found.tasks()] == ["mirror"]


def test_a_name_claimed_twice_names_both_files(empty: Path, package: Path) -> None:
    builtin, plugin = write(empty / "family" / "echo.toml"), write(package / "bird.toml")
    with pytest.raises(DuplicateNameError, match="'parrot' is claimed twice") as caught:
        catalog(empty, point(package.name))
    assert str(builtin) in str(caught.value)
    assert str(plugin) in str(caught.value)


def test_an_alias_that_is_another_tasks_id_is_refused(empty: Path) -> None:
    write(empty / "echo.toml")
    write(empty / "parrot.toml", ECHO.replace("parrot", "bird"))
    with pytest.raises(DuplicateNameError, match="'parrot' is claimed twice"):
        catalog(empty)


def test_a_malformed_definition_is_not_skipped(empty: Path) -> None:
    write(empty / "echo.toml")
    write(empty / "broken.toml", "schema_version = 1")
    with pytest.raises(TaskDefinitionError, match=r"broken\.toml"):
        catalog(empty)


def test_a_plugin_package_that_is_not_there_names_who_asked(empty: Path) -> None:
    with pytest.raises(GPTAppsError, match=r"entry point 'birds'.*'no_such_package' is no importable package"):
        catalog(empty, point("no_such_package"))


def test_a_plugin_module_without_a_definition_is_refused(empty: Path, package: Path) -> None:
    with pytest.raises(TaskDefinitionError, match=r"holds no \.toml file"):
        catalog(empty, point(package.name))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("generation", "generatoin"), "'pipeline' the pipeline 'generatoin'.* Did you mean 'generation'?"),
        (("summary", 'head = "langage_model"\nsummary'), "'head' the head 'langage_model'.* Did you mean"),
        (("summary", 'metrics = ["blue"]\nsummary'), "'metrics' the metric 'blue'.* Did you mean 'bleu'?"),
    ],
)
def test_what_a_definition_names_has_to_be_registered(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    path = write(tmp_path / "echo.toml", ECHO.replace(*change, 1))
    assert load_task_definition(path).id == "echo"  # the schema alone can't know
    with pytest.raises(TaskDefinitionError, match=expected):
        resolve_task(path)


def test_listing_tasks_needs_no_torch() -> None:
    code = (
        "import sys, gptapps.task_catalog as c; c.tasks(); "
        "sys.exit(bool({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
