"""The kernels compile for GPUs that aren't here, within pinned budgets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ahead_of_time import BUDGETS, Case, Usage, compile_module, faults

triton = pytest.importorskip("triton")

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_kernels_keep_to_their_budgets(module: str) -> None:
    cases = __import__(module).CASES
    assert len({case.name for case in cases}) == len(cases)
    release = ".".join(triton.__version__.split(".")[:2])
    assert not faults(cases, compile_module(module), json.loads(BUDGETS.read_text())[module], release=release)


def test_every_budget_has_cases() -> None:
    assert sorted(json.loads(BUDGETS.read_text())) == MODULES


PINNED = {"registers": 100, "spilled": 0, "shared": 1000, "mma": "wgmma"}


@pytest.mark.parametrize(
    ("usage", "fault"),
    [
        (Usage(100, 0, 1000, "wgmma"), None),
        (Usage(90, 0, 900, "wgmma"), None),
        (Usage(101, 0, 1000, "wgmma"), "registers is 101"),
        (Usage(100, 8, 1000, "wgmma"), "spills 8 bytes"),
        (Usage(100, 0, 240_000, "wgmma"), "240000 shared bytes"),
        (Usage(100, 0, 1000, "mma.sync"), "the budget says 'wgmma'"),
    ],
)
def test_what_is_past_a_budget_is_told(usage: Usage, fault: str | None) -> None:
    told = faults([Case("bf16", lambda: None)], [("norm/bf16", 90, usage)], {"norm/bf16": {"90": PINNED}})
    assert bool(told) == (fault is not None)
    assert fault is None or any(fault in sentence for sentence in told)


@pytest.mark.parametrize(
    ("usage", "fault"),
    [
        (Usage(120, 0, 2000, "wgmma"), None),
        (Usage(100, 8, 1000, "wgmma"), "spills 8 bytes"),
        (Usage(100, 0, 240_000, "wgmma"), "240000 shared bytes"),
        (Usage(100, 0, 1000, "mma.sync"), "the budget says 'wgmma'"),
    ],
)
def test_with_another_compiler_ceilings_and_instructions_count(usage: Usage, fault: str | None) -> None:
    budgets = {"norm/bf16": {"90": PINNED}}
    told = faults([Case("bf16", lambda: None)], [("norm/bf16", 90, usage)], budgets, release="3.6")
    assert bool(told) == (fault is not None)
    assert fault is None or any(fault in sentence for sentence in told)


def test_a_budget_that_is_missing_and_one_that_is_left_over_are_told() -> None:
    told = faults([Case("bf16", lambda: None)], [("norm/bf16", 80, Usage(1, 0, 0, ""))], {"norm/bf16": {"90": PINNED}})
    assert "no budget" in told[0]
    assert "not compiled" in told[1]
