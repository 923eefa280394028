"""The kernels compile for GPUs that aren't here, within pinned budgets."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
from ahead_of_time import BUDGETS, Case, Usage, compile_module, faults

triton = pytest.importorskip("triton")
gpu = pytest.importorskip("gptapps.kernels.gpu")

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
SELDOM = [module for module in MODULES if not all(case.often for case in import_module(module).CASES)]


def faults_of(module: str, *, often: bool) -> list[str]:
    """Compile the cases of a module that are, or aren't, compiled often, and hold them to their budgets."""
    cases = [case for case in import_module(module).CASES if case.often is often]
    names = [case.name for case in cases]
    budgets = json.loads(BUDGETS.read_text())[module]
    theirs = {key: pins for key, pins in budgets.items() if key.split("/", 1)[1] in names}
    release = ".".join(triton.__version__.split(".")[:2])
    return faults(cases, compile_module(module, names), theirs, release=release)


@pytest.mark.parametrize("module", MODULES)
def test_kernels_keep_to_their_budgets(module: str) -> None:
    assert not faults_of(module, often=True)


@pytest.mark.slow
@pytest.mark.parametrize("module", SELDOM)
def test_kernels_that_are_much_like_others_keep_to_their_budgets(module: str) -> None:
    assert not faults_of(module, often=False)


def test_every_budget_has_cases() -> None:
    budgets = json.loads(BUDGETS.read_text())
    assert sorted(budgets) == MODULES
    for module, of_module in budgets.items():
        names = [case.name for case in import_module(module).CASES]
        assert len(set(names)) == len(names)
        assert {key.split("/", 1)[1] for key in of_module} == set(names)


def test_every_kernel_that_is_launched_has_a_budget() -> None:
    package = Path(gpu.__file__).parent
    launched = {
        name.strip("_")
        for file in package.glob("*.py")
        for name in re.findall(r"^\s*(?:\w+ = )?(\w+)\[.*?\]\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    compiled = {key.split("/")[0] for module in json.loads(BUDGETS.read_text()).values() for key in module}
    assert launched == compiled


def test_tiles_of_smaller_cards_fit_an_rtx_s_shared_memory() -> None:
    pins = [pin for module in json.loads(BUDGETS.read_text()).values() for pin in module.values()]
    assert max(pin["80"]["shared"] for pin in pins) <= 99 * 1024


MULTIPLYING = ("attention_forward_kernel", "attention_backward_keys_kernel", "attention_backward_queries_kernel")
SMALL_TILES = {
    # wgmma takes 64 rows of a tile at least. Rows of few queries have fewer,
    "attention_forward_kernel/bf16-d64-short",
    "attention_forward_kernel/bf16-d256-short",
    # heads of 256 leave registers for 32 in the pass over keys,
    "attention_backward_keys_kernel/bf16-d256-causal",
    "attention_backward_keys_kernel/bf16-d256-bounds-cap",
    # and so do the three parts of float32 in all others than this.
    *(
        f"{kernel}/fp32-{case}"
        for kernel in MULTIPLYING
        for case in ("d64-causal", "d128-bounds", "d256-causal", "d256-bounds", "d256-window")
        if (kernel, case) != ("attention_forward_kernel", "d64-causal")
    ),
}


def test_matrices_are_multiplied_by_tensor_cores() -> None:
    pins = {key: pin for module in json.loads(BUDGETS.read_text()).values() for key, pin in module.items()}
    expected = {
        key: {"80": "mma.sync", "90": "mma.sync" if key in SMALL_TILES else "wgmma"}
        for key in pins
        if key.startswith(MULTIPLYING)
    }
    # A step of one token multiplies as many rows as a group has heads, too few for wgmma; float32 keeps full precision.
    expected |= {
        key: {"80": "", "90": ""} if "/fp32-" in key else {"80": "mma.sync", "90": "mma.sync"}
        for key in pins
        if key.startswith(("read_part/", "multiply/"))
    }
    expected["multiply/fp16-int4-64-rows-128-columns"]["90"] = "wgmma"
    found = {key: {architecture: one["mma"] for architecture, one in pins[key].items()} for key in expected}
    assert found == expected
    assert not any(one["mma"] for key in pins.keys() - expected.keys() for one in pins[key].values())


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
