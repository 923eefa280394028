"""What a run was asked for, and where both sides find the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.speed.measuring import say
from benchmarks.speed.process import SideProcess
from gptapps.model_store import LocalModel, resolve


@dataclass(frozen=True)
class Settings:
    """Options of a run.

    Attributes:
        model: a packaged model's name, a directory in the Hugging Face layout, or a GGUF file.
        rounds: how often each side is measured.
        warmups: rounds before those, which don't count.
        threads: on both sides.
        scratch: a folder for what the run makes, thrown away afterwards.
        data_root: the folder of data sets, for the benchmarks that need one.
        questions: how many of their rows are asked about; None for as many as each says.
    """

    model: str
    rounds: int
    warmups: int
    threads: int
    scratch: Path
    data_root: Path | None = None
    questions: int | None = None

    @cached_property
    def local(self) -> LocalModel:
        """The model's files, fetched where they aren't here yet."""
        return resolve(self.model)

    @property
    def ours(self) -> str:
        """How gptapps is told which model."""
        return self.model if self.local.packaged else str(self.local.path)

    @cached_property
    def safetensors(self) -> str:
        """A directory that transformers reads as it reads any; made once from a GGUF file's weights."""
        if self.local.path.is_dir():
            return str(self.local.path)
        say("writing the weights as safetensors for transformers")
        directory = self.scratch / "safetensors"
        with SideProcess("benchmarks.speed.ours", self.threads) as side:
            side.call("save", model=self.ours, directory=str(directory))
        return str(directory)

    @property
    def gguf(self) -> str | None:
        """The GGUF file, where the model is one."""
        return None if self.local.path.is_dir() else str(self.local.path)

    def described(self) -> dict[str, Any]:
        """Return the options as the report tells them, without a place on this machine."""
        return {
            "model": Path(self.model).name,
            "rounds": self.rounds,
            "warmups": self.warmups,
            "threads": self.threads,
            "dtype": "float32",
        }
