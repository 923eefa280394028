"""What the GPU benchmark counts: ceilings, costs, errors, targets, the table and the time that is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.speed.gpu import run as runs
from benchmarks.speed.gpu.card import Card
from benchmarks.speed.gpu.checking import largest_error
from benchmarks.speed.gpu.deadline import Deadline
from benchmarks.speed.gpu.layouts import LAYOUTS
from benchmarks.speed.gpu.measured import Checked, Measured, spread
from benchmarks.speed.gpu.operations.loss import ALL_LOGITS
from benchmarks.speed.gpu.report import described, environment, markdown
from benchmarks.speed.gpu.roofline import Ceilings, Cost
from benchmarks.speed.gpu.targets import TARGETS
from benchmarks.speed.measuring import Samples

CEILINGS = Ceilings(copy=3e12, matmul=8e14)


@pytest.fixture(scope="module")
def card() -> Card:
    return Card(dry_run=True)


def measured(subject: str = "norm forward", size: str = "16", **changes: Any) -> Measured:
    one = Measured(
        subject=subject,
        size=size,
        cost=Cost(bytes=3 * 10**9),
        ours=(Samples("gptapps", (0.002, 0.004, 0.003), 10 * 2**20), Samples("gptapps, graph", (0.002,))),
        peers=(Samples("first", (0.004,), 50 * 2**20), Samples("second", (0.001,))),
        counts=True,
    )
    return replace(one, **changes)


def test_the_floor_is_the_nearer_ceiling() -> None:
    copied, multiplied = Cost(bytes=3 * 10**9), Cost(bytes=3 * 10**9, operations=16 * 10**12)
    assert (copied.floor(CEILINGS), copied.bound(CEILINGS)) == (pytest.approx(1e-3), "memory")
    assert (multiplied.floor(CEILINGS), multiplied.bound(CEILINGS)) == (pytest.approx(2e-2), "arithmetic")
    assert multiplied.share(4e-2, CEILINGS) == pytest.approx(0.5)


def test_what_a_layout_costs() -> None:
    small = next(layout for layout in LAYOUTS if layout.name == "135M")
    weights = small.matrices(30) + small.channels * small.vocabulary
    assert weights == pytest.approx(134.5e6, rel=0.001)  # without norms
    one = small.decode_cost(1, 512, 2)
    assert one.bytes == 2 * (weights + 2 * 30 * 512 * 3 * 64)
    assert small.training_cost(8, 1024, 2).operations == pytest.approx(6 * 8 * 1024 * weights, rel=0.2)
    large = next(layout for layout in LAYOUTS if layout.name == "7B")
    assert large.matrices(32) + 2 * large.channels * large.vocabulary == pytest.approx(7.24e9, rel=0.01)


def test_what_does_not_fit_is_left_out_and_named() -> None:
    now = [0.0]
    deadline = Deadline(100, lambda: now[0])
    part = deadline.part(30)
    assert part.allows("early", 20)
    now[0] = 20
    assert not part.allows("late", 20)
    assert deadline.allows("elsewhere", 80)
    assert not deadline.allows("too long", 81)
    assert deadline.part(1000).left == 80
    assert deadline.left_out == ["late", "too long"]


@pytest.mark.parametrize(
    ("got", "error"),
    [
        ([[3.0, 4.0], [0.0, 0.0]], 0.0),
        ([[3.0, 4.5], [0.0, 0.0]], 0.1),
        ([[3.0, 4.0], [0.0, 0.05]], 0.05 / (0.25 * 12.5**0.5)),  # beside the other row this one is small
        ([[3.0, float("nan")], [0.0, 0.0]], float("inf")),
        ([[3.0, 4.0]], float("inf")),
    ],
)
def test_the_worst_row_counts(got: list[list[float]], error: float) -> None:
    assert largest_error([torch.tensor(got)], [torch.tensor([[3.0, 4.0], [0.0, 0.0]])]) == pytest.approx(error)


def test_infinities_and_whole_numbers_have_to_be_the_same() -> None:
    low = torch.tensor([-torch.inf, 1.0])
    assert largest_error([low], [low]) == 0
    assert largest_error([torch.tensor([-5.0, 1.0])], [low]) == float("inf")
    assert largest_error([torch.tensor([3, 4])], [torch.tensor([3, 5])]) == 1
    assert largest_error([torch.empty(0, 4)], [torch.empty(0, 4)]) == 0


def test_the_worst_piece_of_work_decides_about_a_target() -> None:
    (norms,) = (target for target in TARGETS if target.what == "norms")
    (memory,) = (target for target in TARGETS if target.what == "linear cross-entropy, memory")
    fast = measured(ours=(Samples("gptapps", (0.00105,)),))
    assert norms.verdict([], CEILINGS) == "not measured"
    assert norms.verdict([fast], CEILINGS) == "met"
    assert norms.verdict([fast, measured()], CEILINGS) == "missed"
    assert norms.worst([fast, measured()], CEILINGS) == pytest.approx(0.5)
    assert norms.verdict([fast, measured(counts=False), measured("activation forward")], CEILINGS) == "met"
    loss = measured("linear cross-entropy forward and backward", peers=(Samples(ALL_LOGITS, (1.0,), 49 * 2**20),))
    one_way = replace(loss, ours=loss.ours[:1])
    assert memory.worst([one_way], CEILINGS) == pytest.approx(10 / 49)
    assert memory.verdict([one_way], CEILINGS) == "missed"


def test_targets_on_models_look_at_the_size() -> None:
    small, large = (next(t for t in TARGETS if size in t.what and "decoding" in t.what) for size in ("135M", "7B"))
    fast = (Samples("transformers, sdpa", (0.011,)),)
    found = [
        measured("decoding", "135M, B 1, T 512", peers=fast),
        measured("decoding", "135M, B 8, T 512"),
        measured("decoding", "7B, B 1, T 512"),
        measured("decode attention", "135M, B 1, T 512"),
    ]
    assert small.worst(found, CEILINGS) == pytest.approx(5.5)
    assert large.worst(found, CEILINGS) == pytest.approx(2.0)


def test_the_table_and_the_file_say_the_same(card: Card) -> None:
    checks = [Checked("norm", "a | b", "float32", 2e-7, 5e-5, None)]
    found = runs.Found(CEILINGS, checks, [measured(left_out={"Liger": "absent"})], left_out=["a late case"])
    text, written = markdown(found, environment(card)), described(found, environment(card))
    row = "| 16 | gptapps | 3 | 33.3% | 1000 GB/s | 33% |  | 10 |"
    assert row in text
    assert "|  | first | 4 | 0.0% | 750 GB/s | 25% | 2.00 | 50 |" in text  # against the faster of our two ways
    assert "- a late case" in text
    assert "- Liger: absent (norm forward, 16)" in text
    (result,) = written["results"]
    assert [side["share"] for side in result["ours"]] == [pytest.approx(0.3333), 0.5]
    assert [peer["speedup"] for peer in result["peers"]] == [2.0, 0.5]
    assert written["checks"]["largest_errors"] == {"norm": {"float32": 2e-7}}


def test_the_spread_is_that_of_the_middle_half() -> None:
    assert spread(Samples("a", (1.0, 2.0, 3.0, 4.0, 100.0))) == pytest.approx(2 / 3)
    assert spread(Samples("a", (1.0,))) == 0
