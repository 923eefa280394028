"""Which implementation is taken, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

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


@pytest.mark.parametrize(("capability", "taken"), [((7, 5), False), ((8, 0), True)])
def test_a_compiler_refuses_the_choice_of_kernels_for_a_card_that_runs_none(
    capability: tuple[int, int], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_HAS_TRITON", True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    there = cast(Tensor, SimpleNamespace(is_cuda=True, dtype=torch.bfloat16, get_device=lambda: 0))
    dispatch._is_supported.cache_clear()
    try:
        assert dispatch.uses_triton(None, there)  # the body of the operation looks at the card
        assert dispatch.launches(there) == taken
        if taken:
            assert dispatch.uses_triton("triton", there)
        else:
            with pytest.raises(KernelUnavailableError, match=r"capability 8\.0"):
                dispatch.uses_triton("triton", there)
    finally:
        dispatch._is_supported.cache_clear()


@pytest.mark.parametrize(("capability", "taken"), [((7, 5), False), ((8, 0), True)])
@pytest.mark.parametrize("choice", ["triton", "auto"])
def test_the_card_can_be_looked_at_while_pytorch_compiles(
    choice: dispatch.Impl, capability: tuple[int, int], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_HAS_TRITON", True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    compiled = torch.compile(lambda x: kernels.plain_activation(x, "silu", impl=choice), backend="eager")
    torch.compiler.reset()
    dispatch._is_supported.cache_clear()
    try:
        with FakeTensorMode():
            x = torch.empty(2, 4, device="cuda")
            if taken or choice == "auto":
                assert compiled(x).is_cuda
            else:
                with pytest.raises(KernelUnavailableError, match=r"capability 8\.0"):
                    compiled(x)
    finally:
        torch.compiler.reset()
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
kernels.layer_norm(x, torch.ones(8), torch.zeros(8), 1e-5).sum().backward()
heads = torch.randn(1, 3, 2, 8, requires_grad=True)
cos, sin = torch.ones(1, 3, 1, 8), torch.zeros(1, 3, 1, 8)
turned = kernels.rotary(heads, cos, sin, interleaved=False).transpose(1, 2)
visible = kernels.Visibility(causal=True, window=2)
kernels.attention(turned, turned, turned, scale=0.3, visible=visible, sinks=torch.zeros(2)).sum().backward()
kernels.quantized_linear(x, kernels.quantize_weight(torch.randn(5, 8), bits=8))
one, whole = torch.ones(3), torch.zeros(3, dtype=torch.int64)
rules = {"temperature": one, "top_k": whole, "top_p": one, "min_p": 0 * one, "seeds": whole, "steps": whole}
kernels.sample(torch.randn(3, 5), **rules)

from gptapps.backbone.config import Activation, AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.rotary import RotaryConfig

config = GPTConfig(
    family="llama",
    vocabulary_size=20,
    context_length=16,
    channels=16,
    layers=2,
    attention=AttentionConfig(heads=2, kv_heads=1, head_size=8, scale=0.3),
    feed_forward=FeedForwardConfig(size=24, activation=Activation.SILU, gated=True, bias=False),
    norm=NormConfig(Norm.RMS, 1e-5),
    wiring=Wiring.PRE_NORM,
    windows=(None, 4),
    rotary=RotaryConfig(base=10000.0, size=8),
)
backbone = GPTBackbone(config)
ids = torch.arange(6).view(1, 6)
backbone(ids).sum().backward()
with torch.inference_mode():
    rows = KVCache(config).add_rows(1)
    backbone(ids, cache=rows)
    assert backbone(ids[:, :1], cache=rows).isfinite().all()
assert not any(name.startswith("gptapps.kernels.gpu.") for name in sys.modules)

try:
    kernels.rms_norm(x, torch.ones(8), 1e-5, impl="triton")
except KernelUnavailableError:
    sys.exit(0)
sys.exit("Triton was asked for and nothing was said.")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
