"""The GPU benchmark on the CPU: it runs, catches wrong kernels, and counts right. No time is judged here."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.speed.gpu import run as runs
from benchmarks.speed.gpu import worker
from benchmarks.speed.gpu.__main__ import main
from benchmarks.speed.gpu.card import Card, Draw
from benchmarks.speed.gpu.checking import TOLERANCES, check, largest_error
from benchmarks.speed.gpu.deadline import Deadline
from benchmarks.speed.gpu.jobs import check_jobs, checked, run_jobs
from benchmarks.speed.gpu.layouts import DRY_LAYOUTS, LAYOUTS
from benchmarks.speed.gpu.measured import Checked, Measured, spread
from benchmarks.speed.gpu.models import Timer, check_logits
from benchmarks.speed.gpu.operations import OPERATIONS, PLAIN
from benchmarks.speed.gpu.operations.loss import ALL_LOGITS
from benchmarks.speed.gpu.operations.masks import CAUSAL, EVERYTHING, Mask, band, packed, window
from benchmarks.speed.gpu.peers import flex, plain
from benchmarks.speed.gpu.report import described, environment, file_stem, markdown
from benchmarks.speed.gpu.roofline import Ceilings, Cost
from benchmarks.speed.gpu.sides import build_ours, build_theirs
from benchmarks.speed.gpu.targets import TARGETS
from benchmarks.speed.gpu.timing import WrongKernelError, time_case
from benchmarks.speed.gpu.work import Case, Inputs, Operation, Pass, Setting
from benchmarks.speed.gpu.worker import main as work
from benchmarks.speed.measuring import ROOT, BenchmarkError, Samples
from gptapps import kernels
from gptapps.errors import KernelUnavailableError

pytest.importorskip("triton")

CEILINGS = Ceilings(copy=3e12, matmul=8e14)


@pytest.fixture(scope="module")
def card() -> Card:
    return Card(dry_run=True)


def squares(draw: Draw) -> Inputs:
    return (draw.normal(3, 5),)


def setting(ours: Callable[..., Any] = torch.square, learned: tuple[int, ...] = ()) -> Setting:
    return Setting("squares", squares, ours, torch.square, learned)


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


def test_everything_runs_and_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--dry-run", "--output", str(tmp_path)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    names = sorted(file.name for file in tmp_path.iterdir())
    stem = file_stem(Card(dry_run=True), tmp_path).name
    assert names == sorted(f"{stem}.{ending}" for ending in ("json", "md", "png", "svg"))
    written = json.loads((tmp_path / f"{stem}.json").read_text(encoding="utf-8"))
    assert written["checks"]["settings"] > 2 * len(OPERATIONS)
    assert (written["checks"]["wrong"], written["withheld"], written["left_out"]) == ([], [], [])
    subjects = {result["subject"] for result in written["results"]}
    assert {"decoding", "prefill", "training step"} < subjects
    assert all(any(subject.startswith(name) for subject in subjects) for name in OPERATIONS)
    assert {target["verdict"] for target in written["targets"]} == {"not measured"}
    for result in written["results"]:
        assert result["floor_seconds"] > 0
        for side in (*result["ours"], *result["peers"]):
            assert side["median"] > 0
    assert (tmp_path / f"{stem}.md").read_text(encoding="utf-8").strip() == shown.out.strip()
    told = json.dumps(written)
    assert platform.node() not in told
    assert str(Path.home()) not in told


def test_every_kernel_is_checked_and_timed() -> None:
    covered = {function for operation in OPERATIONS.values() for function in operation.functions}
    functions = {name for name in kernels.__all__ if name[0].islower()}
    assert functions == covered | PLAIN
    for operation in OPERATIONS.values():
        assert {one.name for one in operation.settings(False)}
        assert any(case.costs for case in operation.cases(False))


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


def _writes_into_its_input(x: Tensor) -> Tensor:
    out = x.square()
    x.add_(1)
    return out


def _forgets_a_row(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    out[1:] = x[1:].square()
    return out


def _refuses(x: Tensor) -> Tensor:
    raise KernelUnavailableError("There is no such kernel.")


_calls: list[int] = []


def _changes(x: Tensor) -> Tensor:
    _calls.append(1)
    return x.square() * (1 + len(_calls) * 1e-6)


@pytest.mark.parametrize(
    ("ours", "problem"),
    [
        (torch.abs, "a row differs by"),
        (_writes_into_its_input, "an input was written to"),
        (_forgets_a_row, "a row differs by inf"),
        (_refuses, "KernelUnavailableError: There is no such kernel."),
        (_changes, "other bits"),
        (torch.square, "no Triton kernel was launched"),
    ],
)
def test_a_wrong_kernel_is_caught(card: Card, ours: Callable[..., Any], problem: str) -> None:
    found = check(card, "square", setting(ours), torch.float32)
    assert problem in (found.problem or "")
    assert found.tolerance == TOLERANCES[torch.float32]


def test_a_wrong_gradient_is_caught(card: Card) -> None:
    found = check(card, "square", setting(lambda x: x.square() + x - x.detach(), (0,)), torch.float32)
    assert found.error is not None
    assert found.error > 0.1


def test_times_of_a_wrong_kernel_are_not_reported(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = setting(lambda x: x.square() * 1.001)
    case = Case(wrong, {Pass.FORWARD: Cost(8)})
    operation = Operation("square", ("square",), lambda _: [wrong], lambda _: [case])
    monkeypatch.setattr(runs, "OPERATIONS", {"square": operation})
    found = runs.run(card, Deadline(60), ["square"], lambda _: None)
    assert not found.is_right
    assert found.measured == []
    assert found.withheld == ["square, squares: the operation failed its checks"]
    assert "WRONG: square, squares, float32: a row differs" in markdown(found, environment(card))
    late = runs.run(card, Deadline(0), [], lambda _: None, despite_errors=True)
    assert [what for what in late.left_out if what.startswith("square")] == ["square, squares"]


def test_a_kernel_that_is_wrong_at_the_timed_size_is_not_timed(card: Card) -> None:
    with pytest.raises(WrongKernelError, match="plain PyTorch in float64"):
        time_case(card, "square", Case(setting(torch.abs), {Pass.FORWARD: Cost(8)}))
    peers = {"first": plain(torch.square)}
    with pytest.raises(WrongKernelError, match="first"):
        time_case(card, "square", Case(setting(torch.abs), {Pass.FORWARD: Cost(8)}, peers, is_exhaustive=False))


def test_peers_that_refuse_or_differ_take_no_part(card: Card) -> None:
    def absent(_: Inputs) -> Callable[..., Any]:
        raise ModuleNotFoundError("no such peer")

    peers = {
        "absent": absent,
        "failing": plain(_refuses),
        "other": plain(torch.abs),
        "same": plain(torch.square),
    }
    case = Case(setting(learned=(0,)), {Pass.FORWARD: Cost(8), Pass.BACKWARD: Cost(8)}, peers)
    forward, backward = time_case(card, "square", case)
    assert (forward.subject, backward.subject) == ("square forward", "square backward")
    assert [peer.side for peer in forward.peers] == ["same"]
    assert forward.left_out["absent"] == "ModuleNotFoundError: no such peer"
    assert forward.left_out["other"].startswith("it gives other numbers")
    assert set(forward.left_out) == {"absent", "failing", "other"}


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


def test_jobs_run_in_processes_of_their_own() -> None:
    rotary = OPERATIONS["rotary"]
    (good,) = run_jobs(check_jobs([rotary], dry_run=True), Deadline(120), dry_run=True)
    found = checked(good, [rotary], dry_run=True)
    assert [one.setting for one in found] == [one.name for one in rotary.settings(True)]
    assert all(one.problem is None for one in found)
    died = checked(replace(good, lines=good.lines[:1], problem="exit code -11: "), [rotary], dry_run=True)
    assert [one.problem for one in died] == [None, "not checked: exit code -11: "]


def test_a_job_for_which_no_time_is_left_counts_as_wrong() -> None:
    rotary = OPERATIONS["rotary"]
    (done,) = run_jobs(check_jobs([rotary], dry_run=True), Deadline(0), dry_run=True)
    problems = {one.problem for one in checked(done, [rotary], dry_run=True)}
    assert problems == {"not checked: no time was left"}


def test_jobs_run_operations_on_every_side(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert work(["--dry-run", "dance", "rotary"]) == 2
    assert "There is no job 'dance'." in capsys.readouterr().err
    monkeypatch.setenv("GPTAPPS_KERNELS", "triton")
    assert work(["--dry-run", "warm", "rotary"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(worker, "LAYOUTS", DRY_LAYOUTS)
    monkeypatch.delenv("GPTAPPS_KERNELS")
    assert work(["--dry-run", "compile", "tiny"]) == 0


def test_a_model_that_computes_something_else_is_not_timed(card: Card) -> None:
    theirs = build_theirs(card, DRY_LAYOUTS[0], 2)
    ours = build_ours(theirs)
    errors = check_logits(card, ours, theirs)["logits_off_float32"]
    assert max(errors.values()) < 1e-5
    with torch.no_grad():
        ours.backbone.blocks[0].attention.qkv.weight.mul_(1.01)
    with pytest.raises(BenchmarkError, match="The logits of gptapps lie"):
        check_logits(card, ours, theirs)


def test_models_are_left_out_when_the_time_is_up(card: Card) -> None:
    deadline = Deadline(0)
    assert list(Timer(card, DRY_LAYOUTS[0], deadline).measured()) == []
    assert len(deadline.left_out) == 4


@pytest.mark.parametrize(
    "mask", [CAUSAL, window(3), band(2), packed((5, 1, 4)), EVERYTHING], ids=lambda mask: mask.name
)
def test_masks_mean_the_same_to_everybody(card: Card, mask: Mask) -> None:
    draw = Draw(card, torch.float32)
    q, k, v = (draw.normal(1, 2, 10, 16) for _ in range(3))
    extras = mask.extras(draw, 1, 10, 10)
    seen = mask.dense(extras, 1, 10, 10, card.device)
    visible = mask.visible(*extras)
    assert torch.equal(visible.dense(1, 10, 10, "cpu"), seen)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=0.5)
    flexible = flex(0.5, mask.seen(*extras))((q, k, v))
    torch.testing.assert_close(flexible(q, k, v), expected)


def test_nothing_is_imported_that_a_gpu_machine_may_lack() -> None:
    names = (
        "gguf",
        "pydantic",
        "platformdirs",
        "filelock",
        "rouge_score",
        "sacrebleu",
        "nltk",
        "sklearn",
        "click",
        "rich",
    )
    blocked = f"import sys; sys.modules.update(dict.fromkeys({names})); import benchmarks.speed.gpu.command"
    subprocess.run([sys.executable, "-c", blocked], check=True, cwd=ROOT)


def test_without_a_gpu_the_dry_run_is_offered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main(["--output", str(tmp_path)]) == 1
    assert "--dry-run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
