"""``python -m benchmarks.finetuning``: trains heads and LoRAs, measures them, writes the numbers down.

Everything is chosen on the data set's training rows, of which a LoRA sets a tenth aside to know when to stop; the test
rows are only measured on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptapps.evaluation.results import EvaluationReport

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, slots=True)
class Case:
    """One data set.

    Attributes:
        task: what is trained.
        folder: below the data root, with ``train`` and ``test``.
        train: the file that is learned from.
        test: the file that is measured on; None for rows of ``train`` that have values of their own in ``apart``.
        apart: a column, of whose values a fifth is set aside, with all rows that have them.
        method: how it is trained.
        metric: that decides.
        target: what is asked of it on the default model; None for none.
        measured: the most test rows; None for all.
        prompted: measure the model before its training, too.
        options: of finetune.
    """

    task: str
    folder: str
    train: str = "train.jsonl"
    test: str | None = "test.jsonl"
    apart: str = ""
    method: str = "head"
    metric: str = "accuracy"
    target: float | None = None
    measured: int | None = None
    prompted: bool = False
    options: dict[str, Any] = field(default_factory=dict)


FEW: dict[str, Any] = {"metric": "accuracy", "measured": 200, "prompted": True, "options": {"limit": 200}}
"""A head that learns from few rows, beside the prompt."""

CASES = {
    "sst2": Case("sentiment", "classification/sst2", target=0.86),
    "sst2_lora": Case("sentiment", "classification/sst2", method="lora", target=0.89, options={"epochs": 2}),
    "squad_lora": Case(
        "answer",
        "qa/squad_v1",
        train="validation.jsonl",
        test=None,
        apart="title",
        method="lora",
        metric="token_f1",
        measured=500,
        prompted=True,
        options={"with_head": True, "epochs": 1, "examples_per_update": 8, "limit": 8_000},
    ),
    "arc_easy": Case("choose", "qa/arc_easy", train="test.jsonl", test=None, apart="question", **FEW),
    "openbookqa": Case("choose", "qa/openbookqa", train="test.jsonl", test=None, apart="question", **FEW),
    "commonsense_qa": Case("choose", "qa/commonsense_qa", test="validation.jsonl", **FEW),
    "squad_head": Case(
        "answer", "qa/squad_v1", train="validation.jsonl", test=None, apart="title", **{**FEW, "metric": "exact_match"}
    ),
    "ag_news": Case("classify", "classification/ag_news", target=0.88),
    "chnsenticorp": Case("sentiment", "classification/chnsenticorp"),
    "mrpc": Case("classify", "classification/mrpc"),
    "rte": Case("classify", "classification/rte", test="validation.jsonl"),
    "sms_spam": Case("classify", "classification/sms_spam"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases and write a JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finetuning", description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="where the data sets lie")
    parser.add_argument("--only", action="append", choices=CASES, help="a case; several times for several")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="the most training rows, drawn by the seed")
    parser.add_argument("--output", type=Path, help="by default finetuning-MODEL-DATE.json among the results")
    given = parser.parse_args(arguments)
    files = [
        given.data_root / CASES[name].folder / file
        for name in given.only or CASES
        for file in (CASES[name].train, CASES[name].test)
        if file is not None
    ]
    if missing := [str(file) for file in files if not file.is_file()]:
        parser.error(f"--data-root lacks {', '.join(missing)}")
    results = [run(name, given) for name in given.only or CASES]
    content = {"model": given.model, "threads": given.threads, "environment": environment(), "results": results}
    today = datetime.now(UTC).date().isoformat()
    output = given.output or RESULTS / f"finetuning-{Path(given.model).name}-{today}.json"
    output.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{output}\n")
    return 0 if all(result["met"] is not False for result in results) else 1


def run(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Train one model and return its numbers."""
    from gptapps import evaluate, finetune

    case, began = CASES[name], monotonic()
    choosing = case.method != "head"  # a head is chosen by cross-validation, and needs no rows beside
    sampled = choosing or case.measured is not None
    with tempfile.TemporaryDirectory() as scratch:
        train, test = _files(case, given.data_root / case.folder, Path(scratch))
        options: dict[str, Any] = {**case.options, **({} if given.limit is None else {"limit": given.limit})}
        report = finetune(
            case.task,
            train,
            validation=0.1 if choosing else None if sampled else test,
            method=case.method,
            output=Path(scratch) / "model",
            model=given.model,
            threads=given.threads,
            sampling="random",
            **options,
        )
        trained = monotonic()
        said = report.as_dict()

        def measured(model: str) -> EvaluationReport:
            folder = Path(scratch) / ("trained" if model != given.model else "prompted")
            return evaluate(
                case.task,
                test,
                model=model,
                limit=case.measured,
                sampling="first" if case.measured is None else "random",
                threads=given.threads,
                output=folder,
            )

        if sampled:
            done = measured(str(Path(scratch) / "model"))
            said["test"] = {**done.as_dict(), "model": f"{given.model}, trained"}
            score = done.score(case.metric)
        else:
            score = report.score(case.metric)
        if case.prompted:
            said["prompted"] = measured(given.model).as_dict()
    sys.stdout.write(f"{name}\n{report.table}\n{case.metric} on the test rows: {score}\n\n")
    sys.stdout.flush()
    return {
        "name": name,
        "case": asdict(case),
        "limit": options.get("limit"),
        **said,
        "target": case.target,
        "met": None if case.target is None or given.limit else score.value >= case.target,
        "seconds": {"all": round(monotonic() - began, 1), "training": round(trained - began, 1)} | _head_seconds(said),
    }


def _files(case: Case, folder: Path, scratch: Path) -> tuple[Path, Path]:
    """Return what is learned from and what is measured on, without a value of ``apart`` in both."""
    if case.test is not None:
        return folder / case.train, folder / case.test
    rows = [json.loads(line) for line in (folder / case.train).read_text(encoding="utf-8").split("\n") if line]
    values = sorted({row[case.apart] for row in rows})
    random.Random(0).shuffle(values)
    aside = set(values[: len(values) // 5])
    for name, kept in (("train", False), ("test", True)):
        lines = (json.dumps(row, ensure_ascii=False) for row in rows if (row[case.apart] in aside) is kept)
        (scratch / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return scratch / "train.jsonl", scratch / "test.jsonl"


def _head_seconds(said: dict[str, Any]) -> dict[str, float | None]:
    details = said["details"]
    if "read_seconds" not in details:
        return {}
    read, fit = details["read_seconds"], details["fit_seconds"]
    return {
        "reading": read,
        "choosing and fitting": fit,
        "ratio": round((read + fit) / read, 2) if read else None,
    }


def environment() -> dict[str, Any]:
    """Return what times depend on; nothing names the machine."""
    names = ("gptapps", "torch", "numpy", "scikit-learn", "tokenizers")
    model = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "processor": model,
        "cpus": os.cpu_count(),
        "load_at_end": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in names},
    }


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    sys.exit(main())
