"""Tasks for lm-evaluation-harness over rows that lie on this disk, so that nothing is fetched.

The first rows of a set are the worked examples, the next ones the questions; the harness's ``first_n`` sampler gives
every question the same examples in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class HarnessTask:
    """A set of data and how the harness asks about it.

    Attributes:
        name: in the harness.
        title: in reports.
        file: under the data root, JSON lines.
        shots: how many rows at the start are worked examples.
        rows: how many of those behind them are asked about, where nothing else is wanted.
        settings: the harness's own keys.
    """

    name: str
    title: str
    file: str
    shots: int
    rows: int
    settings: Mapping[str, Any]


ARC_EASY = HarnessTask(
    "local_arc_easy",
    "ARC-Easy, 8 shots",
    "qa/arc_easy/test.jsonl",
    shots=8,
    rows=100,
    settings={
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
)
SST2 = HarnessTask(
    "local_sst2",
    "SST-2",
    "classification/sst2/validation.jsonl",
    shots=0,
    rows=300,
    settings={
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}}\nQuestion: Is this sentence positive or negative?\nAnswer:",
        "doc_to_choice": ["negative", "positive"],
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
)
LAMBADA = HarnessTask(
    "local_lambada",
    "LAMBADA",
    "lm/lambada_openai/test.jsonl",
    shots=0,
    rows=100,
    settings={
        "output_type": "loglikelihood",
        "doc_to_text": "{{text.rsplit(' ', 1)[0]}}",
        "doc_to_target": "{{' ' + text.rsplit(' ', 1)[1]}}",
        "metric_list": [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        ],
    },
)


def write_task(task: HarnessTask, data_root: Path, directory: Path, rows: int | None = None) -> int:
    """Write a task and its rows where the harness finds them with ``--include_path``.

    Args:
        task: which.
        data_root: the folder of data sets.
        directory: created where it is absent; the harness's copies of the rows lie there as well.
        rows: how many to ask about; None for the task's own number.

    Returns:
        How many rows are asked about, fewer where the file has no more.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (data_root / task.file).open(encoding="utf-8") as lines:
        shots = list(islice(lines, task.shots))
        asked = list(islice(lines, task.rows if rows is None else rows))
    files = {"test": directory / f"{task.name}.jsonl"}
    files["test"].write_text("".join(asked), encoding="utf-8")
    settings: dict[str, Any] = {**task.settings, "num_fewshot": len(shots)}
    if shots:
        files["train"] = directory / f"{task.name}-shots.jsonl"
        files["train"].write_text("".join(shots), encoding="utf-8")
        settings |= {"fewshot_split": "train", "fewshot_config": {"sampler": "first_n"}}
    settings |= {
        "task": task.name,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {split: str(file) for split, file in files.items()},
            "cache_dir": str(directory / "cache"),
        },
        "test_split": "test",
    }
    # every JSON document is a YAML document
    (directory / f"{task.name}.yaml").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return len(asked)
