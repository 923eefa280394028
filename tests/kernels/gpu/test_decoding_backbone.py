"""A backbone decoding on Triton's kernels, in the interpreter, against the same on the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptapps.backbone.config import Activation, AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.rotary import RotaryConfig
from gptapps.backbone.token_step import TokenStep, rotation_tables

pytest.importorskip("triton")

CONFIG = GPTConfig(
    family="llama",
    vocabulary_size=50,
    context_length=64,
    channels=32,
    layers=2,
    attention=AttentionConfig(heads=4, kv_heads=2, head_size=8, scale=8**-0.5),
    feed_forward=FeedForwardConfig(size=48, activation=Activation.SILU, gated=True, bias=False),
    norm=NormConfig(Norm.RMS, 1e-5),
    wiring=Wiring.PRE_NORM,
    windows=(None, 6),
    rotary=RotaryConfig(base=10000.0, size=8),
)


@pytest.fixture(scope="module")
def backbone() -> GPTBackbone:
    generator = torch.Generator().manual_seed(0)
    made = GPTBackbone(CONFIG).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.5, generator=generator)
    return made


def ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(50, shape, generator=torch.Generator().manual_seed(seed))


def filled(backbone: GPTBackbone, *, with_prefix: bool) -> KVCache:
    cache = KVCache(CONFIG)
    prefix = None
    if with_prefix:
        before = KVCache(CONFIG)
        backbone(ids(1, 7, seed=3), cache=before.add_rows(1))
        prefix = before.freeze(0)
    rows = cache.add_rows([prefix, None, prefix])
    backbone(ids(3, 9), cache=rows, lengths=[9, 2, 5])
    return cache


@torch.inference_mode()
@pytest.mark.parametrize("with_prefix", [False, True])
def test_a_step_of_one_token(backbone: GPTBackbone, with_prefix: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = [filled(backbone, with_prefix=with_prefix) for _ in range(2)]
    for tokens in ids(2, 3, 1, seed=5):
        monkeypatch.setenv("GPTAPPS_KERNELS", "reference")
        expected = backbone(tokens, cache=caches[0].all_rows())
        monkeypatch.setenv("GPTAPPS_KERNELS", "triton")
        ours = backbone(tokens, cache=caches[1].all_rows())
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_step_with_all_numbers_on_the_device(backbone: GPTBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = [filled(backbone, with_prefix=False) for _ in range(2)]
    tables = rotation_tables(CONFIG, 64, torch.float32, torch.device("cpu"))
    tokens = ids(3, seed=6)
    expected = backbone(tokens.unsqueeze(1), cache=caches[0].all_rows()).squeeze(1)
    caches[1].reserve(20)
    monkeypatch.setenv("GPTAPPS_KERNELS", "triton")
    step = TokenStep(CONFIG, caches[1], torch.tensor(caches[1].tails), tables)
    torch.testing.assert_close(backbone.read_tokens(tokens, step), expected, atol=1e-4, rtol=1e-4)
