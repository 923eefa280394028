"""Rows so far apart that the distance passes 2**31, in memory of which only a few pages are ever touched."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("triton")

CODE = """
import torch
from gptapps import kernels
from gptapps.kernels.gpu.linear_cross_entropy import Terms, losses_of_logits

device = "cuda" if torch.cuda.is_available() else "cpu"
held = torch.empty(2**31 + 64, dtype=torch.float16, device=device)

def apart(*shape):
    x = held.as_strided((3, *shape, 64), (2**30, *(64 for _ in shape), 1))
    return x.copy_(torch.linspace(-1, 1, x.numel(), device=device).view(x.shape))

def agree(actual, expected):
    torch.testing.assert_close(actual.double(), expected.double(), atol=1e-2, rtol=1e-2)

x, weight = apart(), torch.ones(64, dtype=torch.float16, device=device, requires_grad=True)
out = kernels.rms_norm(x, weight, 1e-5, impl="triton")
normed = kernels.rms_norm(x.double(), weight.double(), 1e-5)
agree(out, normed)
agree(*(torch.autograd.grad(y.sum(), weight)[0] for y in (out, normed)))

out = kernels.layer_norm(x, weight, None, 1e-5, impl="triton")
normed = kernels.layer_norm(x.double(), weight.double(), None, 1e-5)
agree(out, normed)
agree(*(torch.autograd.grad(y.sum(), weight)[0] for y in (out, normed)))

x, angles = apart(1, 1), torch.linspace(0, 1, 64, device=device).expand(3, 1, 1, 64)
for interleaved in (False, True):
    out = kernels.rotary(x, angles, angles, interleaved=interleaved, impl="triton")
    agree(out, kernels.rotary(x.double(), angles, angles, interleaved=interleaved))

logits, targets = apart(), torch.tensor([1, 2, 63], device=device)
wide = logits.double().requires_grad_()
expected = torch.nn.functional.cross_entropy(wide, targets, reduction="none")
agree(losses_of_logits(logits, targets, None, Terms(None, 0.0, 0.0), True), expected)
agree(logits, torch.autograd.grad(expected.sum(), wide)[0])

def same(function, *far):
    for ours, expected in zip(function(*far), function(*(x.contiguous() for x in far)), strict=True):
        assert torch.equal(ours, expected)

def merged(x):
    log_sums = x[..., :1].float().contiguous()
    near = x.float().flip(-1).contiguous()
    first = kernels.merge_attention((x, log_sums), (near, 2 * log_sums), impl="triton")
    return *first, *kernels.merge_attention((near, 2 * log_sums), (x, log_sums), impl="triton")

def attended(x):
    q, k, v = inputs = [x.detach().requires_grad_() for _ in range(3)]
    out = kernels.attention(q, k, v, scale=0.1, visible=kernels.Visibility(causal=True), impl="triton")
    return out, *torch.autograd.grad(out, inputs, x)

x = apart(1, 1)
for axis in range(3):  # rows, heads, tokens
    same(merged, x.transpose(0, axis))
    same(attended, x.transpose(0, axis))

def drawn(logits):
    one, whole = torch.ones(len(logits), device=device), torch.arange(len(logits), device=device)
    rules = {"temperature": one, "top_k": 2 * whole, "top_p": one / 2, "min_p": 0 * one}
    return kernels.sample(logits, **rules, seeds=whole, steps=whole, impl="triton")

same(drawn, apart())
same(drawn, apart().T[:3])

spread = 2**31 // 17 + 1  # between channels, of which there are 18
x = held.as_strided((2, 18), (1, spread)).copy_(torch.linspace(-1, 1, 36, device=device).view(2, 18))
for bits in (4, 8):
    weight = kernels.quantize_weight(torch.linspace(-1, 1, 54, device=device).view(3, 18), bits=bits)
    same(lambda x: [kernels.quantized_linear(x, weight, impl="triton")], x)

def decoded(keys):
    lengths = torch.tensor([2], device=device)
    return kernels.decode_attention(keys[:, :, 0], keys, keys, lengths, scale=1.0, impl="triton")

same(decoded, x[None, None])
"""


def test_offsets_past_two_to_the_31() -> None:
    process = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
