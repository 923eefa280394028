"""``python -m benchmarks.finetuning``: trains heads and LoRAs, measures them, writes the numbers down.

Everything is chosen on the data set's training rows, of which a LoRA sets a tenth aside to know when to stop; the test
rows are only measured on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, slots=True)
class Case:
    """One data set.

    Attributes:
        task: what is trained.
        folder: below the data root, with train.jsonl and ``test``.
        test: the file that is measured on.
        method: how it is trained.
        target: the accuracy that is asked of the default model; None for none.
        options: of finetune.
    """

    task: str
    folder: str
    test: str = "test.jsonl"
    method: str = "head"
    target: float | None = None
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "sst2": Case("sentiment", "classification/sst2", target=0.86),
    "sst2_lora": Case("sentiment", "classification/sst2", method="lora", target=0.89, options={"epochs": 2}),
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
    folder = given.data_root / case.folder
    choosing = case.method != "head"  # a head is chosen by cross-validation, and needs no rows beside
    with tempfile.TemporaryDirectory() as scratch:
        report = finetune(
            case.task,
            folder / "train.jsonl",
            validation=0.1 if choosing else folder / case.test,
            method=case.method,
            output=Path(scratch) / "model",
            model=given.model,
            threads=given.threads,
            limit=given.limit,
            sampling="random",
            **case.options,
        )
        trained = monotonic()
        said, accuracy = report.as_dict(), report.score("accuracy")
        if choosing:
            test = evaluate(
                case.task,
                folder / case.test,
                model=str(Path(scratch) / "model"),
                threads=given.threads,
                output=Path(scratch) / "test",
            )
            said["test"] = {**test.as_dict(), "model": f"{given.model}, trained"}
            accuracy = test.score("accuracy")
    sys.stdout.write(f"{name}\n{report.table}\naccuracy on the test rows: {accuracy}\n\n")
    sys.stdout.flush()
    return {
        "name": name,
        "case": asdict(case),
        "limit": given.limit,
        **said,
        "target": case.target,
        "met": None if case.target is None or given.limit else accuracy.value >= case.target,
        "seconds": {"all": round(monotonic() - began, 1), "training": round(trained - began, 1)} | _head_seconds(said),
    }


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
