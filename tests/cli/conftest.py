"""The command line in this process, and a tiny model for it to run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tiny_language_model import one_thread, write_tiny_model

from gptapps.cli.app import run
from gptapps.decoding.language_model import LanguageModel


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Standard output, line by line."""
        return self.out.splitlines()


class Terminal(io.StringIO):
    """Something that says it is a terminal."""

    def isatty(self) -> bool:
        return True


Command = Callable[..., Result]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def _online_and_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "GPTAPPS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes of their own
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> str:
    """The folder of a tiny model that chats, with room for 256 tokens."""
    return str(write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer, context_length=256))


@pytest.fixture
def gptapps(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command line with arguments, and with ``stdin`` as bytes, or a terminal where there is none."""

    def command(*arguments: str | Path, stdin: bytes | None = None) -> Result:
        given = Terminal() if stdin is None else io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", given)
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return command


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file for a command to read."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
