"""The READMEs: both say the same, their commands and their Python run, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_language_model import one_thread

from gptapps.cli.app import app, run
from gptapps.task_definition import load_task_definition

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = [ENGLISH, CHINESE, *sorted(ROOT.glob("tasks/**/*.md"))]

FENCE = re.compile(
    r"^(?:<!-- (?P<name>[\w ]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#]+)")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def blocks(page: Path, language: str | None = None) -> list[str]:
    """Return the code blocks of a page, of one language where it is named."""
    text = page.read_text(encoding="utf-8")
    return [match["code"] for match in FENCE.finditer(text) if language in (None, match["language"])]


def named_block(page: Path, name: str) -> str:
    """Return the block behind the comment that names it."""
    found = [match["code"] for match in FENCE.finditer(page.read_text(encoding="utf-8")) if match["name"] == name]
    assert len(found) == 1, f"{page.name} has {len(found)} blocks named {name!r}"
    return found[0].strip()


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of every gptapps command in the page's shell blocks, pipes and redirections cut off."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for start in (place for place, word in enumerate(words) if word == "gptapps"):
                rest = words[start + 1 :]
                end = next((place for place, word in enumerate(rest) if word in ("|", ">", "&&", ";")), len(rest))
                yield rest[:end]


def spans(page: Path) -> set[str]:
    """Return what a page sets in code inside its sentences, as far as it is a command or an option."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {span for span in re.findall(r"`([^`\n]+)`", text) if span.startswith(("gptapps", "-"))}


def test_both_readmes_hold_the_same_code() -> None:
    assert blocks(ENGLISH) == blocks(CHINESE)
    assert spans(ENGLISH) == spans(CHINESE)
    for name in ("summarize", "install and test"):
        assert named_block(ENGLISH, name) == named_block(CHINESE, name)


def test_the_first_two_blocks_are_the_main_job_and_the_tests() -> None:
    assert [block.strip() for block in blocks(ENGLISH)[:2]] == [
        named_block(ENGLISH, "summarize"),
        named_block(ENGLISH, "install and test"),
    ]
    assert re.fullmatch(r"pip install \. && gptapps summarize examples/\S+", named_block(ENGLISH, "summarize"))
    assert "pytest" in named_block(ENGLISH, "install and test")


def test_ci_runs_the_command_that_the_readme_names() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    extraction = re.search(r"^command=.*$", script, re.MULTILINE)
    assert extraction
    shown = subprocess.run(
        ["bash", "-c", f'{extraction[0]}\nprintf %s "$command"'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == named_block(ENGLISH, "install and test")
    assert re.search(r'^eval "\$command"$', script, re.MULTILINE)


@pytest.mark.usefixtures("default_gguf")
@pytest.mark.parametrize("command", list(commands(ENGLISH)), ids=" ".join)
def test_a_command_of_the_readme_runs(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert out.strip()
    assert err == ""


@pytest.mark.usefixtures("default_gguf", "gemma_gguf")
def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(ENGLISH, "python"), 1):
        exec(compile(block, f"<block {number} of {ENGLISH.name}>", "exec"), names)
        out, err = capsys.readouterr()
        assert out.strip()
        assert err == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_can_be_given(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    definitions = [block for block in blocks(page, "toml") if "schema_version" in block]
    for command in commands(page):
        name, *arguments = command
        if name.endswith(".toml"):  # one's own, which the page shows
            Path(name).write_text(definitions[0], encoding="utf-8")
        with app.make_context("gptapps", [name]) as context:
            found = app.get_command(context, name)
            assert found is not None
            found.make_context(name, arguments, parent=context, resilient_parsing=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_definition_of_a_page_can_be_read(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "toml"):
        if "schema_version" in block:
            path = tmp_path / "shown.toml"
            path.write_text(block, encoding="utf-8")
            load_task_definition(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
