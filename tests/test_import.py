"""Importing is quick because nothing heavy is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gptapps

HEAVY = ("torch", "transformers", "pydantic", "numpy", "sklearn", "huggingface_hub", "tokenizers", "gguf", "jinja2")
CLI = "from gptapps.cli.app import run; run({!r})"


def loaded(code: str) -> set[str]:
    """Run ``code`` in a process of its own and return which heavy packages that loaded."""
    report = f"{code}\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    process = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(HEAVY) & set(process.stderr.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("import gptapps; dir(gptapps)") == set()


def test_records_load_pydantic_alone() -> None:
    assert loaded("from gptapps import Summary, QuestionExample, GPTAppsError") == {"pydantic"}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["tasks"], ["models"], ["evaluate", "--help"], ["bench", "--help"], ["sumarize"]],
    ids=str,
)
def test_what_needs_no_model_loads_no_torch(arguments: list[str]) -> None:
    assert loaded(CLI.format(arguments)) & {"torch", "transformers", "numpy", "huggingface_hub"} == set()


def test_metrics_load_no_torch() -> None:
    code = "from gptapps.registry import METRICS\nfor name in METRICS.names(): METRICS.get(name)"
    assert loaded(code) & {"torch", "transformers"} == set()


def test_a_pipeline_loads_no_transformers() -> None:
    assert "transformers" not in loaded("from gptapps import pipeline")


def test_importing_changes_neither_environment_nor_logging_nor_warnings() -> None:
    code = (
        "import logging, os, sys, warnings\n"
        "import torch\n"  # this one does change the warnings
        "def state(): return dict(os.environ), logging.root.level, [*logging.root.handlers], [*warnings.filters]\n"
        "before = state()\n"
        "import gptapps.pipelines.factory, gptapps.cli.app\n"
        "sys.exit(state() != before or logging.getLogger('gptapps').level != logging.NOTSET)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_version_is_one_line() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "gptapps", "--version"], capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, f"gptapps {gptapps.__version__}\n", "")
