"""ARC-Easy and LAMBADA through the harness: our backend and its own agree example by example, and so in accuracy."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from backends import their_backend

from benchmarks.speed.harness_tasks import ARC_EASY, LAMBADA, HarnessTask, write_task
from gptapps.decoding.language_model import LanguageModel
from gptapps.heads.language_model import LanguageModelHead
from gptapps.heads.loading import save_language_model

NEAR = 1e-4  # a token


@pytest.fixture(scope="module")
def default_directory(default_model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model as transformers reads it."""
    directory = tmp_path_factory.mktemp("default")
    assert isinstance(default_model.head, LanguageModelHead)
    save_language_model(default_model.backbone, default_model.head, directory)
    default_model.tokenizer.save(directory)
    return directory


@pytest.fixture(scope="module")
def backends(default_directory: Path) -> tuple[Any, Any]:
    """Our backend and the harness's own, on the same directory."""
    from gptapps.lm_eval import GPTAppsLM

    return (
        GPTAppsLM(str(default_directory), device="cpu", dtype="float32"),
        their_backend(default_directory, batch_size=8),
    )


def results_of(backend: Any, task: HarnessTask, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the metrics and the samples of a task."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.evaluator import evaluate
        from lm_eval.tasks import TaskManager

        loaded = TaskManager(include_path=str(folder), include_defaults=False).load([task.name])
        found = evaluate(backend, loaded, bootstrap_iters=0)
    return found["results"][task.name], found["samples"][task.name]


def check(backends: tuple[Any, Any], task: HarnessTask, folder: Path, rows: int) -> None:
    """Insist that both backends give the same results."""
    (metrics, ours), (their_metrics, theirs) = (results_of(backend, task, folder) for backend in backends)
    assert len(ours) == len(theirs) == rows
    for own, their in zip(ours, theirs, strict=True):
        assert own["arguments"] == their["arguments"]
        assert own["acc"] == their["acc"], own["doc"]
        for (mine,), (other,), (_, continuation) in zip(own["resps"], their["resps"], own["arguments"], strict=True):
            tokens = len(backends[0].tok_encode(continuation))
            assert mine == (pytest.approx(other[0], abs=NEAR * tokens), other[1])
    assert metrics["acc,none"] == their_metrics["acc,none"]


@pytest.mark.data
@pytest.mark.parametrize(("task", "rows"), [(ARC_EASY, 2), (LAMBADA, 5)])
def test_a_few_questions(
    backends: tuple[Any, Any], data_root: Path, tmp_path: Path, task: HarnessTask, rows: int
) -> None:
    assert write_task(task, data_root, tmp_path, rows) == rows
    check(backends, task, tmp_path, rows)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("task", [ARC_EASY, LAMBADA])
def test_a_hundred_questions(backends: tuple[Any, Any], data_root: Path, tmp_path: Path, task: HarnessTask) -> None:
    assert write_task(task, data_root, tmp_path) == 100
    check(backends, task, tmp_path, 100)
