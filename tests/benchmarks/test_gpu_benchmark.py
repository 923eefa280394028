"""The GPU benchmark on the CPU: it runs and catches wrong kernels. No time is judged here."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from benchmarks.speed.gpu import models, worker
from benchmarks.speed.gpu import run as runs
from benchmarks.speed.gpu.__main__ import main
from benchmarks.speed.gpu.card import Card, Draw
from benchmarks.speed.gpu.checking import TOLERANCES, check
from benchmarks.speed.gpu.deadline import Deadline
from benchmarks.speed.gpu.decoders import SteppingDecoder
from benchmarks.speed.gpu.jobs import check_jobs, checked, run_jobs
from benchmarks.speed.gpu.layouts import DRY_LAYOUTS
from benchmarks.speed.gpu.measured import Measured
from benchmarks.speed.gpu.models import Timer, check_logits
from benchmarks.speed.gpu.operations import OPERATIONS, PLAIN
from benchmarks.speed.gpu.operations.masks import CAUSAL, EVERYTHING, Mask, band, packed, window
from benchmarks.speed.gpu.peers import flex, plain
from benchmarks.speed.gpu.report import environment, file_stem, markdown
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.sides import build_ours, build_theirs
from benchmarks.speed.gpu.timing import WrongKernelError, time_case
from benchmarks.speed.gpu.work import Case, Inputs, Operation, Pass, Peer, Setting
from benchmarks.speed.gpu.worker import main as work
from benchmarks.speed.measuring import OURS, ROOT, BenchmarkError
from gptapps import kernels
from gptapps.errors import KernelUnavailableError
from gptapps.kernels.dispatch import VARIABLE

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, kernels don't run in the interpreter")


@pytest.fixture(scope="module")
def card() -> Card:
    return Card(dry_run=True)


def squares(draw: Draw) -> Inputs:
    return (draw.normal(3, 5),)


def setting(ours: Callable[..., Any] = torch.square, learned: tuple[int, ...] = ()) -> Setting:
    return Setting("squares", squares, ours, torch.square, learned)


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


def test_jobs_run_in_processes_of_their_own() -> None:
    rotary = OPERATIONS["rotary"]
    (good,) = run_jobs(check_jobs([rotary], dry_run=True), Deadline(120), dry_run=True)
    found = checked(good, [rotary], Deadline(1), dry_run=True)
    assert [one.setting for one in found] == [one.name for one in rotary.settings(True)]
    assert all(one.problem is None for one in found)
    dead = replace(good, lines=good.lines[:1], problem="exit code -11: ")
    died = checked(dead, [rotary], Deadline(1), dry_run=True)
    assert [one.problem for one in died] == [None, "not checked: exit code -11: "]


def test_checks_for_which_no_time_is_left_are_listed() -> None:
    rotary, deadline = OPERATIONS["rotary"], Deadline(0)
    (done,) = run_jobs(check_jobs([rotary], dry_run=True), deadline, dry_run=True)
    assert checked(done, [rotary], deadline, dry_run=True) == []
    assert deadline.left_out[0] == "the job 'check rotary 0 2'"
    assert deadline.left_out[1:] == [f"check of rotary, {one.name}, torch.float32" for one in rotary.settings(True)]


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


def test_models_are_left_out_when_the_time_is_up(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(models, "build_theirs")  # nothing is built
    deadline = Deadline(0)
    assert list(Timer(card, DRY_LAYOUTS[0], deadline).measured()) == []
    assert deadline.left_out == [
        "tiny: decoding, tiny, B 1, T 5",
        "tiny: prefill, tiny, B 1, T 12",
        "tiny: decoding, tiny, B 2, T 5",
        "tiny: training step, tiny, B 2, T 9",
    ]


class Clock:
    """Stands still but for the work that takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> float:
        self.now += seconds
        return seconds

    def peer(self, seconds: float) -> Peer:
        """Return a peer that is right, and so slow."""

        def square(x: Tensor) -> Tensor:
            self.work(seconds)
            return x.square()

        return plain(square)


@pytest.mark.parametrize(
    ("seconds", "timed", "left_out"),
    [
        (18.0, [OURS, models.THEIRS, "other"], []),
        (12.0, [OURS, models.THEIRS], ["tiny: prefill, tiny, B 1, T 12, other"]),
        (4.0, None, ["tiny: prefill, tiny, B 1, T 12, other", "tiny: prefill, tiny, B 1, T 12"]),
        (1.0, None, ["tiny: prefill, tiny, B 1, T 12"]),
    ],
)
def test_a_model_s_sides_are_left_out_when_the_time_is_up(
    card: Card, seconds: float, timed: list[str] | None, left_out: list[str]
) -> None:
    clock = Clock()
    deadline = Deadline(seconds, clock)
    turns = {side: partial(clock.work, taken) for side, taken in ((OURS, 1.0), (models.THEIRS, 4.0), ("other", 1.0))}
    timer = Timer(card, DRY_LAYOUTS[0], deadline)
    found = timer.timed("prefill", 1, 12, Cost(8), turns, {})
    assert deadline.left_out == left_out
    assert timed == (None if found is None else [one.side for one in (*found.ours, *found.peers)])


def test_rounds_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, card = Clock(), Card(dry_run=True)
    monkeypatch.setattr(card, "is_dry", False)
    monkeypatch.setattr(card, "peak_bytes", lambda work: work() and None)
    deadline = Deadline(12.0, clock)
    turns = {OURS: partial(clock.work, 1.0), models.THEIRS: partial(clock.work, 1.0)}
    found = Timer(card, DRY_LAYOUTS[0], deadline).timed("prefill", 1, 12, Cost(8), turns, {})
    assert found is not None
    assert [one.values for one in (*found.ours, *found.peers)] == [(1.0, 1.0, 1.0)] * 2
    assert deadline.left_out == ["tiny: prefill, tiny, B 1, T 12, all but 3 of 5 rounds"]
    assert clock.now <= 12.0


def test_peers_and_passes_are_left_out_when_the_time_is_up(card: Card) -> None:
    clock = Clock()
    deadline = Deadline(10.0, clock)
    peers = {"first": clock.peer(4.0), "second": clock.peer(7.0), "third": clock.peer(1.0)}
    costs = {Pass.FORWARD: Cost(8), Pass.BACKWARD: Cost(8)}
    assert time_case(card, "square", Case(setting(learned=(0,)), costs, peers), deadline) == []
    assert deadline.left_out == [f"square, squares: {what}" for what in ("third", "forward", "backward")]
    deadline = Deadline(12.0, clock)
    (forward,) = time_case(card, "square", Case(setting(learned=(0,)), costs, {"first": peers["first"]}), deadline)
    assert [one.side for one in forward.peers] == ["first"]
    assert deadline.left_out == ["square, squares: backward"]


def test_models_run_on_triton_or_not_at_all(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    class Noting:
        def __init__(self, *_: object, **__: object) -> None:
            seen.append(os.environ.get(VARIABLE))

        def measured(self) -> list[Measured]:
            return []

    monkeypatch.setattr(runs, "Timer", Noting)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert runs.run(card, Deadline(60), ["models"], lambda _: None).is_right
    assert seen == ["triton"]
    assert VARIABLE not in os.environ


def test_a_decoder_that_captures_no_graph_is_not_timed(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = build_theirs(card, DRY_LAYOUTS[0], 1)
    ours = build_ours(theirs)
    monkeypatch.setattr(SteppingDecoder, "_captures", lambda _: True)  # as on a GPU
    with pytest.raises(BenchmarkError, match="captured its steps in no CUDA graph"):
        check_logits(card, ours, theirs)
    decoder = SteppingDecoder(ours)
    decoder.read(torch.zeros(1, 3, dtype=torch.int64))
    decoder.step(torch.zeros(1, dtype=torch.int64))  # compiles
    decoder._steps._captured[1, ()] = Mock()
    decoder.step(torch.zeros(1, dtype=torch.int64))


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
    assert main(["--output", str(tmp_path)]) == 1
    assert "--dry-run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
