"""``python -m gptapps.lm_eval``: the harness's command line with our model in it."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from backends import Requests

from benchmarks.speed.harness_tasks import HarnessTask, write_task
from gptapps.errors import OptionError
from gptapps.lm_eval import main

ROWS: list[dict[str, Any]] = [
    {"question": "What do bees make?", "choices": ["honey", "milk"], "answer": 0},
    {"question": "Where do people borrow books?", "choices": ["at a bakery", "from a library"], "answer": 1},
    {"question": "What freezes into ice?", "choices": ["water", "sand", "bread"], "answer": 0},
]
TASK = HarnessTask(
    "three_questions",
    "Three questions",
    "rows.jsonl",
    shots=1,
    rows=2,
    settings={
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
    },
)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder for ``--include_path`` with a task of two questions behind one worked example."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    write_task(TASK, tmp_path, tmp_path / "tasks")
    return tmp_path / "tasks"


@pytest.fixture
def run(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``python -m gptapps.lm_eval`` in this process, without the seconds that the harness spends on its own tasks."""
    import lm_eval.tasks

    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(lm_eval.tasks.TaskManager, include_defaults=False))
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    monkeypatch.setattr("lm_eval.__main__.setup_logging", lambda: None)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # the harness sets it for good

    def run(*arguments: str) -> int:
        common = ("--model", "gptapps", "--tasks", TASK.name, "--include_path", str(tasks))
        monkeypatch.setattr(sys, "argv", ["gptapps.lm_eval", *common, *arguments])
        monkeypatch.delitem(sys.modules, "gptapps.lm_eval", raising=False)
        with pytest.raises(SystemExit) as left:
            runpy.run_module("gptapps.lm_eval", run_name="__main__")
        return int(left.value.code or 0)

    return run


def test_a_model_is_evaluated(
    run: Callable[..., int],
    tiny_directory: Path,
    tmp_path: Path,
    ours: Any,
    requests_of: Requests,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = f"pretrained={tiny_directory},dtype=float32,threads={torch.get_num_threads()}"
    assert run("--model_args", model, "--output_path", str(tmp_path / "out"), "--log_samples") == 0
    assert f"|{TASK.name}|" in capsys.readouterr().out
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    assert [row["doc"]["question"] for row in rows] == [row["question"] for row in ROWS[1:]]
    for row, asked in zip(rows, ROWS[1:], strict=True):
        prompt = f"Question: What do bees make?\nAnswer: honey\n\nQuestion: {asked['question']}\nAnswer:"
        requests = [(prompt, f" {choice}") for choice in asked["choices"]]
        assert [tuple(pair.values()) for pair in row["arguments"].values()] == requests
        scores = ours.loglikelihood(requests_of("loglikelihood", requests), disable_tqdm=True)
        assert [float(score) for ((score, _),) in row["resps"]] == [
            pytest.approx(score, abs=1e-3) for score, _ in scores
        ]


def test_without_the_harness_one_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert main() == 2
    assert capsys.readouterr().err == (
        "gptapps: lm-evaluation-harness isn't installed: "
        "run pip install 'gptapps[lm-eval]' to evaluate models with it.\n"
    )


def test_a_mistake_is_one_sentence(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model_args", "pretrained=no-such-model") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("gptapps: There is no model 'no-such-model'")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "gptapps needs a model"),
        ("pretrained=x,thread=2", "--model_args has no 'thread' for gptapps. Did you mean 'threads'"),
        ("pretrained=x,threads=0", "threads is 0, but has to be a whole number above 0"),
        ("pretrained=x,batch_size=many", "batch_size is 'many'"),
    ],
)
def test_arguments_that_make_no_sense(given: str, problem: str) -> None:
    from gptapps.lm_eval import GPTAppsLM

    with pytest.raises(OptionError, match=problem):
        GPTAppsLM.create_from_arg_string(given)


def test_arguments_go_before_those_of_the_command_line(tiny_directory: Path) -> None:
    from gptapps.lm_eval import GPTAppsLM

    fallback = {"batch_size": 1, "max_batch_size": 16, "device": None}
    asked = {"pretrained": str(tiny_directory), "dtype": "auto"}
    assert GPTAppsLM.create_from_arg_obj(asked, fallback).batch_size == 1
    assert GPTAppsLM.create_from_arg_obj({**asked, "batch_size": "4"}, fallback).batch_size == 4
    model = GPTAppsLM.create_from_arg_obj({**asked, "batch_size": "auto:2", "max_length": 5000}, {})
    assert (model.batch_size, model.max_length) == (8, 96)
