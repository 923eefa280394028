"""The command line as the shell sees it: pipes that close, disks that fill up, interruptions, terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from gptapps.cli.progress import Progress

Command = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]

LINE = re.compile(r"(positive|negative)\t[01]\.\d{4}\n")
SHELL = [sys.executable, "-m", "gptapps"]
PATIENCE = 240  # seconds; a busy machine takes long to load PyTorch


def start(*arguments: str | Path, **streams: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    given: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    return subprocess.Popen([*SHELL, *map(str, arguments)], **(given | streams))


@pytest.fixture
def many(write: Write) -> Path:
    """A file with more lines than any test waits for."""
    return write("many.txt", "".join(f"Line {number} of many.\n" for number in range(20_000)))


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A terminal to write to, and a function that says what was written."""
    master, slave = os.openpty()
    file = os.fdopen(slave, "w")

    def written() -> str:
        file.flush()
        os.set_blocking(master, False)
        pieces = []
        while True:
            try:
                pieces.append(os.read(master, 65536))
            except BlockingIOError:
                return b"".join(pieces).decode()

    yield file, written
    file.close()
    os.close(master)


def test_a_pipeline_of_the_shell(write: Write, tiny: str) -> None:
    path = write("rows.jsonl", '{"text": "one"}\n{"text": "two"}\n')
    with path.open() as rows:
        process = start("sentiment", "--model", tiny, "--format", "jsonl", "-", stdin=rows)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert [bool(LINE.fullmatch(line)) for line in out.splitlines(keepends=True)] == [True, True]


def test_a_mistake_leaves_exit_code_2_and_one_line(write: Write, tiny: str) -> None:
    process = start("sentiment", "--model", tiny, write("rows.jsonl", '{"text": "one"}\nbroken\n'))
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert LINE.fullmatch(out)
    assert re.fullmatch(r"gptapps: .*rows\.jsonl:2 is no JSON \(.*\n", err)


def test_a_reader_that_has_seen_enough_ends_the_work_quietly(many: Path, tiny: str) -> None:
    with start("sentiment", "--model", tiny, "--lines", many) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert LINE.fullmatch(process.stdout.readline())
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(PATIENCE), err) == (0, "")


def test_an_interruption_leaves_complete_lines_and_exit_code_130(many: Path, tiny: str) -> None:
    def listen() -> None:  # a test run in the background ignores interruptions, and so would its children
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with start("sentiment", "--model", tiny, "--lines", many, preexec_fn=listen) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        lines += process.stdout.readlines()
        err = process.stderr.read()
        assert process.wait(PATIENCE) == 130
    assert len(lines) < 20_000
    assert all(LINE.fullmatch(line) for line in lines)
    assert err.strip() == "gptapps: interrupted; what was written so far is complete."


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_sentence(write: Write, tiny: str) -> None:
    with open("/dev/full", "w") as full:
        process = start("sentiment", "--model", tiny, write("a.txt", "One text."), stdout=full)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (2, "gptapps: Reading or writing failed: no space left on device.\n")


def test_an_encoding_without_the_characters_is_one_sentence(tiny: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    process = start("classify", "--model", tiny, "--labels", "好,坏", "--text", "a", env=environment)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(
        r"gptapps: The output's encoding, latin-1, has no '\\u\w{4}': set PYTHONIOENCODING=utf-8\.\n", err
    )


def test_a_terminal_is_not_waited_for() -> None:
    master, slave = os.openpty()
    process = start("tasks", stdin=slave)
    waiting = start("score", stdin=slave)
    assert process.communicate(timeout=PATIENCE)[1] == ""
    _, err = waiting.communicate(timeout=PATIENCE)
    os.close(slave)
    os.close(master)
    assert waiting.returncode == 2
    assert (
        err == "gptapps: There is nothing to read: give files, - for standard input, or --text; see gptapps score -h.\n"
    )


def test_progress_is_drawn_on_a_terminal_alone(
    gptapps: Command,
    write: Write,
    tiny: str,
    terminal: tuple[TextIO, Callable[[], str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ("sentiment", "--model", tiny, "--lines", write("a.txt", "one\ntwo\nthree\n"))
    silent = gptapps(*command)
    assert silent.err == ""
    file, written = terminal
    monkeypatch.setattr("sys.stderr", file)
    quiet = gptapps("--quiet", *command)
    assert written() == ""
    drawn = gptapps(*command)
    assert "done" in written()
    assert silent.out == quiet.out == drawn.out


def test_a_download_is_drawn_with_what_it_brings(
    terminal: tuple[TextIO, Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, written = terminal
    monkeypatch.setattr("sys.stderr", file)
    with Progress(shown=False) as progress:
        progress.download("Fetching a model", 500_000, 1_000_000)
    assert written() == ""
    with Progress(shown=True) as progress:
        for done in (0, 500_000, 1_000_000):
            progress.download("Fetching a model", done, 1_000_000)
        assert list(progress.count(["one", "two"])) == ["one", "two"]
    drawn = written()
    assert "Fetching a model" in drawn
    assert "1.0/1.0 MB" in drawn
