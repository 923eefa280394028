"""The data doctor on rows with several labels: each is known, each is counted, their order says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_files import diagnosis_of, kinds, the_finding

WRONG = {"delay": "the ferry was late", "comfort": "the seats were hard", "noise": "the engine was loud"}


def complaints(count: int = 24) -> list[dict[str, object]]:
    """Rows of every combination of three labels, none of them included."""
    return [
        {
            "text": f"Trip {number}: " + (", ".join(WRONG[label] for label in labels) or "nothing to add"),
            "label": labels,
        }
        for number in range(count)
        for labels in [[label for place, label in enumerate(WRONG) if number >> place & 1]]
    ]


def test_rows_of_several_labels_or_none_are_healthy(tmp_path: Path) -> None:
    diagnosis = diagnosis_of(tmp_path, complaints(), task="tag", validation=0.25)
    assert diagnosis.findings == ()
    assert diagnosis.require().labels == ("comfort", "delay", "noise")
    table = [{**row, "label": "; ".join(row["label"])} for row in complaints() if row["label"]]  # type: ignore[arg-type]
    assert diagnosis_of(tmp_path, table, task="tag").findings == ()


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"label": ["delay", "noice"]}, "unknown_label", "'noice' is not among the labels"),
        ({"label": "delay; noice"}, "unknown_label", "Did you mean 'noise'?"),
        ({"label": None}, "missing", "nothing stands in the column 'label'"),
        ({"text": " "}, "empty", "the column 'text' is empty"),
    ],
)
def test_a_faulty_row_of_several_labels_is_found(
    tmp_path: Path, change: dict[str, object], kind: str, said: str
) -> None:
    rows = complaints()
    rows[5] |= change
    finding = the_finding(diagnosis_of(tmp_path, rows, task="tag", options={"labels": [*WRONG]}), kind)
    assert (finding.severity, finding.row, finding.count) == ("fatal", 6, 1)
    assert said in finding.what


def test_labels_of_several_are_counted_one_by_one(tmp_path: Path) -> None:
    rare = [{**row, "label": ["delay", *(["noise"] if number == 3 else [])]} for number, row in enumerate(complaints())]
    finding = the_finding(diagnosis_of(tmp_path, rare, task="tag"), "imbalance")
    assert "'delay' has 24 rows and 'noise' 1" in finding.what
    single = [{**row, "label": ["delay"]} for row in complaints()]
    assert the_finding(diagnosis_of(tmp_path, single, task="tag"), "single_label").severity == "fatal"
    absent = diagnosis_of(tmp_path, complaints(), task="tag", options={"labels": [*WRONG, "price"]})
    assert "'price'" in the_finding(absent, "absent_label").what


def test_the_same_text_with_the_same_labels_in_another_order_is_no_conflict(tmp_path: Path) -> None:
    rows = complaints()
    again = {**rows[7], "label": list(reversed(rows[7]["label"]))}  # type: ignore[call-overload]
    assert kinds(diagnosis_of(tmp_path, [*rows, again], task="tag")) == ["duplicate"]
    other = {**rows[7], "label": ["noise"]}
    assert kinds(diagnosis_of(tmp_path, [*rows, other], task="tag")) == ["conflict"]


def test_validation_of_several_labels_that_is_among_the_rows_to_learn_from(tmp_path: Path) -> None:
    assert the_finding(diagnosis_of(tmp_path, complaints(), task="tag", validation=complaints(5)), "leak").count == 5
