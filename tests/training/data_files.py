"""Small data files, and what the doctor says of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gptapps.training.data import DataPlan
from gptapps.training.doctor import diagnose
from gptapps.training.findings import Diagnosis, Finding

Rows = Iterable[Mapping[str, object]]

MAILS = ("The server is down again", "Lunch is at noon", "The roof leaks above the printer", "New pens have come")


def mails(count: int = 20) -> list[dict[str, object]]:
    """Rows of two labels, every text another."""
    return [
        {"text": f"{MAILS[number % 4]}, note {number}.", "label": ("urgent", "routine")[number % 2]}
        for number in range(count)
    ]


def questions(count: int = 12) -> list[dict[str, object]]:
    """Chinese rows, each with a context of its own in which the answer stands."""
    return [
        {
            "question": f"第{number}号渡轮几点开？",
            "context": f"因为有雾，第{number}号渡轮改在{number}点开，请乘客提前到码头等候。",
            "answers": [f"{number}点"],
        }
        for number in range(1, count + 1)
    ]


def write_rows(path: Path, rows: Rows) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def diagnosis_of(
    folder: Path,
    rows: Rows,
    *,
    task: str = "classify",
    validation: Rows | float | None = None,
    model: str | None = None,
    limit: int | None = None,
    **plan: Any,
) -> Diagnosis:
    """Return what the doctor says of rows, written to train.jsonl and validation.jsonl."""
    train = write_rows(folder / "train.jsonl", rows)
    other: Path | float | None
    if validation is None or isinstance(validation, float):
        other = validation
    else:
        other = write_rows(folder / "validation.jsonl", validation)
    return diagnose(DataPlan(task=task, train=train, validation=other, **plan), model=model, limit=limit)


def the_finding(diagnosis: Diagnosis, kind: str) -> Finding:
    """Return the one finding of a kind; all others are in the message where there isn't exactly one."""
    found = [finding for finding in diagnosis.findings if finding.kind == kind]
    assert len(found) == 1, diagnosis.findings
    return found[0]


def kinds(diagnosis: Diagnosis) -> list[str]:
    """Return what was found, in order."""
    return [finding.kind for finding in diagnosis.findings]
