"""Which implementation is taken, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from gptapps import kernels
from gptapps.errors import GPTAppsError, KernelUnavailableError, OptionError
from gptapps.kernels import dispatch

HERE = torch.zeros(2, 4)


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(dispatch, "_HAS_TRITON", True)


def test_tensors_of_the_cpu_take_the_reference() -> None:
    assert not dispatch.uses_triton(None, HERE)
    assert not dispatch.uses_triton("auto", HERE, None)


@pytest.mark.usefixtures("interpreter")
def test_the_argument_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    assert dispatch.uses_triton(None, HERE, None)
    assert not dispatch.uses_triton("reference", HERE)
    monkeypatch.setenv(dispatch.VARIABLE, "reference")
    assert not dispatch.uses_triton(None, HERE)
    assert dispatch.uses_triton("triton", HERE)


def test_a_choice_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "cuda")
    with pytest.raises(OptionError, match="auto, triton, reference, not 'cuda'"):
        kernels.plain_activation(HERE, "silu")


@pytest.mark.usefixtures("interpreter")
def test_numbers_that_no_kernel_takes() -> None:
    with pytest.raises(KernelUnavailableError, match="not float64"):
        kernels.plain_activation(HERE.double(), "silu", impl="triton")
    assert dispatch.uses_triton("triton", HERE, HERE.long())


@pytest.mark.usefixtures("interpreter")
def test_a_device_that_no_kernel_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(KernelUnavailableError, match="a tensor lies on cpu"):
        kernels.rms_norm(HERE, HERE[0], 1e-5, impl="triton")


@pytest.mark.parametrize(("capability", "taken"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_graphics_cards_that_kernels_run_on(
    capability: tuple[int, int], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_HAS_TRITON", True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    there = cast(Tensor, SimpleNamespace(is_cuda=True, dtype=torch.bfloat16, get_device=lambda: 0))
    dispatch._is_supported.cache_clear()
    try:
        assert dispatch.uses_triton(None, there) == dispatch.launches(there) == taken
        if not taken:
            with pytest.raises(KernelUnavailableError, match=r"capability 8\.0"):
                dispatch.uses_triton("triton", there)
    finally:
        dispatch._is_supported.cache_clear()


def test_triton_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_HAS_TRITON", False)
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    with pytest.raises(GPTAppsError, match=r"pip install \"gptapps\[gpu\]\""):
        kernels.rms_norm(HERE, HERE[0], 1e-5)


def test_the_operation_is_left_out_where_nobody_needs_it() -> None:
    learning = torch.zeros(3, requires_grad=True)
    assert not dispatch.needs_operator(HERE, None)
    assert dispatch.needs_operator(HERE, learning)
    with torch.no_grad():
        assert not dispatch.needs_operator(learning, torch.nn.Parameter(HERE))


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("choice", ["triton", None])
def test_operations_compile_into_one_graph(choice: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    if choice:
        monkeypatch.setenv(dispatch.VARIABLE, choice)

    def layer(x: Tensor, weight: Tensor) -> Tensor:
        normed, summed = kernels.add_rms_norm(x, 2 * x, weight, 1e-5)
        return kernels.gated_activation(normed, "silu").repeat(1, 2) + summed

    inputs = [torch.randn(shape, requires_grad=True) for shape in ((3, 8), (8,))]
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for run in (layer, compiled):
        torch.testing.assert_close(run(*inputs), layer(*inputs), rtol=0, atol=0)
        for ours, theirs in zip(
            torch.autograd.grad(run(*inputs).sum(), inputs),
            torch.autograd.grad(layer(*inputs).sum(), inputs),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs)


def test_everything_runs_where_triton_cannot_be_imported() -> None:
    code = """
import sys
sys.modules["triton"] = None
import importlib, pkgutil
import torch
import gptapps
for module in pkgutil.walk_packages(gptapps.__path__, "gptapps."):
    if not module.name.startswith("gptapps.kernels.gpu") and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert not any(name.startswith("gptapps.kernels.gpu.") for name in sys.modules)
from gptapps import kernels
from gptapps.errors import KernelUnavailableError
x = torch.randn(3, 8, requires_grad=True)
out = kernels.gated_activation(kernels.rms_norm(x, torch.ones(8), 1e-5), "silu")
torch.ops.gptapps.activation(out, "silu", False).sum().backward()
kernels.linear_cross_entropy(x, torch.randn(5, 8), torch.zeros(3, dtype=torch.int64)).backward()
try:
    kernels.rms_norm(x, torch.ones(8), 1e-5, impl="triton")
except KernelUnavailableError:
    sys.exit(0)
sys.exit("Triton was asked for and nothing was said.")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
