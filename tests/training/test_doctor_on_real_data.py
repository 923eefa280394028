"""The doctor on published data sets: the flaws that are really there, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gptapps.training.data import DataPlan
from gptapps.training.doctor import diagnose
from gptapps.training.findings import Finding

pytestmark = pytest.mark.data

PARALLEL = {"text": "source", "translations": "target", "source": "source_lang", "target": "target_lang"}


def found(data_root: Path, task: str, train: str, validation: str | None = None, **plan: Any) -> list[Finding]:
    """Return the findings in data sets; a tenth of the first validates where no other is named."""
    other = 0.1 if validation is None else data_root / f"{validation}.jsonl"
    return [*diagnose(DataPlan(task=task, train=data_root / f"{train}.jsonl", validation=other, **plan)).findings]


def told(findings: list[Finding]) -> list[tuple[str, str, int]]:
    """Return kind, file and number of rows of each finding."""
    return [(finding.kind, Path(finding.file or "").stem, finding.count) for finding in findings]


@pytest.mark.parametrize(
    ("task", "train", "validation", "plan"),
    [
        ("choose", "qa/commonsense_qa/train", "qa/commonsense_qa/validation", {}),
        ("choose", "qa/arc_easy/test", None, {}),
        ("answer", "qa/cmrc2018/trial", "qa/cmrc2018/validation", {}),
        ("translate", "translation/multi30k_en-fr/validation", None, {"columns": PARALLEL}),
    ],
)
def test_clean_data_sets_are_clean(
    data_root: Path, task: str, train: str, validation: str | None, plan: dict[str, Any]
) -> None:
    assert told(found(data_root, task, train, validation, **plan)) == []


def test_sst2(data_root: Path) -> None:
    folder = "classification/sst2"
    findings = found(data_root, "sentiment", f"{folder}/train", f"{folder}/validation")
    assert told(findings) == [("leak", "validation", 1), ("duplicate", "train", 9)]


def test_the_known_flaw_of_chnsenticorp(data_root: Path) -> None:
    folder = "classification/chnsenticorp"
    findings = found(data_root, "sentiment", f"{folder}/train", f"{folder}/validation")
    assert told(findings) == [
        ("conflict", "train", 28),
        ("conflict", "validation", 1),
        ("leak", "validation", 342),  # 338 of them word for word
        ("near_leak", "validation", 5),
        ("duplicate", "train", 1339),
        ("duplicate", "validation", 21),
    ]
    assert "; 4 of them but for case" in findings[2].what


def test_uneven_topics_of_tnews(data_root: Path) -> None:
    folder = "classification/tnews"
    findings = found(data_root, "classify", f"{folder}/validation")
    assert told(findings) == [
        ("conflict", "validation", 31),
        ("imbalance", "validation", 10000),
        ("duplicate", "validation", 208),
    ]


def test_sentences_of_cola_that_are_right_and_wrong(data_root: Path) -> None:
    folder = "classification/cola"
    findings = found(data_root, "classify", f"{folder}/train", f"{folder}/validation")
    assert ("conflict", "train", 15) in told(findings)
    assert ("leak", "validation", 20) in told(findings)


def test_unanswerable_questions_cannot_be_learned_by_an_extractive_task(data_root: Path) -> None:
    findings = found(data_root, "answer", "qa/squad_v2_cs224n/validation", limit=2000)
    assert findings[0].severity == "fatal"
    assert (findings[0].kind, findings[0].column) == ("empty", "answers")


def test_a_split_of_ones_own_does_not_leak(data_root: Path) -> None:
    plan = DataPlan(task="answer", train=data_root / "qa/squad_v1/validation.jsonl", limit=3000, validation=0.2)
    data = diagnose(plan).require()
    sides = [{item.example.context for item in items} for items in (data.train, data.validation)]
    assert sides[0].isdisjoint(sides[1])
    assert 550 < len(data.validation) < 650
