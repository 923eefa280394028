"""The whole backbone on Triton's interpreter gives what it gives on plain PyTorch, with no step of the latter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from itertools import product
from typing import Literal

import pytest
import torch
from tiny_models import TinyModel, random_tokens
from torch import Tensor

from gptapps import kernels
from gptapps.backbone.branching import Branching
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.quantized import quantize_blocks
from gptapps.backbone.token_step import TokenStep, rotation_tables
from gptapps.heads.language_model import LanguageModelHead
from gptapps.kernels.dispatch import VARIABLE
from gptapps.training.lessons import Lesson
from gptapps.training.loss import TargetLoss
from gptapps.training.packing import pack

pytest.importorskip("triton")
# numpy, which interprets, warns where exp reaches infinity and the result is right.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")

REFERENCES = {
    "reference": [
        "layer_norm", "rms_norm", "rotary", "plain_activation", "gated_activation", "attention", "packed_attention",
        "partial_attention", "merge_attention",
    ],
    "attention": ["masked_attention", "open_attention"],
    "attention_operator": ["masked_attention", "masked_attention_backward"],
    "activations": ["_derivative"],
    "norms": ["norm", "norm_backward"],
    "linear_cross_entropy": ["_loss_and_gradients"],
    "quantized_linear": ["_reference", "dequantize_weight"],
    "reference_decode": ["decode_attention"],
    "reference_sampling": ["sample"],
}  # fmt: skip
"""Module of :mod:`gptapps.kernels` -> the functions of plain PyTorch that it calls where no kernel answers."""

TOLERANCE = 1e-4  # of hidden states that are of the order of 1, in float32


@pytest.fixture
def on_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make Triton answer from here on, and every call of a reference an error."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("plain PyTorch answered in a kernel's place")

    def switch() -> None:
        monkeypatch.setenv(VARIABLE, "triton")
        for module, names in REFERENCES.items():
            for name in names:
                monkeypatch.setattr(import_module(f"gptapps.kernels.{module}"), name, refused)

    return switch


def prefill(backbone: GPTBackbone) -> list[Tensor]:
    return [backbone(random_tokens(2, 11))]


def prefill_of_one(backbone: GPTBackbone) -> list[Tensor]:
    return [backbone(random_tokens(1, 7))]


def chunks_behind_unequal_tails(backbone: GPTBackbone) -> list[Tensor]:
    cache = KVCache(backbone.config)
    backbone(random_tokens(2, 9), cache=cache.add_rows(2), lengths=[9, 4])
    return [backbone(random_tokens(2, 6, seed=1), cache=cache.all_rows())]


def chunks_behind_segments(backbone: GPTBackbone) -> list[Tensor]:
    cache = KVCache(backbone.config)
    backbone(random_tokens(1, 8), cache=cache.add_rows(1))
    segment = cache.freeze(0)
    rows = cache.add_rows([segment, None, segment])
    backbone(random_tokens(1, 3, seed=1), cache=type(rows)(cache, 2, 3))
    return [backbone(random_tokens(3, 5, seed=2), cache=rows)]


def token_by_token(backbone: GPTBackbone) -> list[Tensor]:
    cache = KVCache(backbone.config)
    rows = cache.add_rows(2)
    backbone(random_tokens(2, 6), cache=rows, lengths=[6, 2])
    return [backbone(random_tokens(2, 1, seed=seed), cache=rows) for seed in (1, 2)]


def packed(backbone: GPTBackbone) -> list[Tensor]:
    tokens = random_tokens(1, 15)[0]
    return [backbone.read_packed(tokens, (5, 1, 9)), backbone.read_packed(tokens, (4, 8), opening=3)]


def packed_both_ways(backbone: GPTBackbone) -> list[Tensor]:
    return [backbone.read_packed(random_tokens(1, 15)[0], (5, 1, 9), causal=False)]


def branched(backbone: GPTBackbone) -> list[Tensor]:
    seen = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], dtype=torch.bool)
    return [backbone.read_branched(random_tokens(1, 4)[0], Branching(torch.tensor([0, 1, 1, 2]), seen))]


READINGS = (
    prefill,
    chunks_behind_unequal_tails,
    chunks_behind_segments,
    token_by_token,
    packed,
    packed_both_ways,
    branched,
)


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        *product(["mistral"], READINGS),
        ("gpt2", chunks_behind_segments),
        *product(["gpt1", "gpt2", "gptj", "qwen3"], [prefill, token_by_token]),
        *product(["gemma3", "gpt_neox"], [prefill_of_one]),
    ],
)
def test_hidden_states_are_those_of_the_reference(
    name: str,
    reading: Callable[[GPTBackbone], list[Tensor]],
    tiny: Callable[[str], TinyModel],
    on_kernels_alone: Callable[[], None],
) -> None:
    backbone = tiny(name).backbone
    expected = reading(backbone)
    on_kernels_alone()
    for states, plain in zip(reading(backbone), expected, strict=True):
        torch.testing.assert_close(states, plain, atol=TOLERANCE, rtol=TOLERANCE)


def two_layers(model: TinyModel) -> tuple[GPTBackbone, LanguageModelHead]:
    """Return copies whose backbone has two layers, one with a window and one without where layers differ in that."""
    backbone, head = copy.deepcopy((model.backbone, model.head))
    first = max(backbone.config.windows.index(None) - 1, 0) if None in backbone.config.windows else 0
    backbone.blocks = backbone.blocks[first : first + 2]
    return backbone, head


@pytest.mark.parametrize(("name", "mixed"), [("gpt2", False), ("gptj", False), ("mistral", False), ("mistral", True)])
def test_gradients_are_those_of_the_reference(
    name: str, mixed: bool, tiny: Callable[[str], TinyModel], on_kernels_alone: Callable[[], None]
) -> None:
    backbone, _ = two_layers(tiny(name))
    tokens = random_tokens(1, 15)[0]

    def gradients() -> list[Tensor]:
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            states = backbone.read_packed(tokens, (4, 8), opening=3)
            return list(torch.autograd.grad(states.square().sum(), list(backbone.parameters())))

    expected = gradients()
    on_kernels_alone()
    for gradient, plain in zip(gradients(), expected, strict=True):
        agree(gradient, plain, tolerance=0.1 if mixed else TOLERANCE)  # bfloat16 has 8 bits


FAMILIES = ("mistral", "gemma3", "gptj", "gpt_neox")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_training_step_is_that_of_the_reference(
    name: str, tiny: Callable[[str], TinyModel], on_kernels_alone: Callable[[], None]
) -> None:
    loss = TargetLoss(*two_layers(tiny(name)), label_smoothing=0.1, z_loss=0.01)
    lessons = pack([Lesson((5, 17, 3, 60, 8), (9, 2)), Lesson((5,), (70,), weight=2.0)])

    def step() -> list[Tensor]:
        with torch.enable_grad():
            summed = loss(lessons)
            return [summed.detach(), *torch.autograd.grad(summed, list(loss.parameters()))]

    expected = step()
    on_kernels_alone()
    for ours, plain in zip(step(), expected, strict=True):
        agree(ours, plain)


@pytest.mark.parametrize(("name", "bits"), [*product(FAMILIES, [None]), ("mistral", 8)])
def test_the_next_token_is_that_of_the_reference(
    name: str, bits: Literal[8] | None, tiny: Callable[[str], TinyModel], on_kernels_alone: Callable[[], None]
) -> None:
    backbone, head = tiny(name).backbone, tiny(name).head
    if bits is not None:
        backbone = copy.deepcopy(backbone)
        quantize_blocks(backbone, bits=bits)
    caches = [KVCache(backbone.config) for _ in range(2)]
    for cache in caches:
        backbone(random_tokens(2, 7), cache=cache.add_rows(2), lengths=[7, 2])
        cache.reserve(8)
    tokens = random_tokens(2, seed=1)
    whole = torch.zeros(2, dtype=torch.int64)
    rules = {"temperature": torch.tensor([0.0, 1.0]), "top_k": whole, "top_p": torch.tensor([1.0, 0.9])}
    rules |= {"min_p": torch.zeros(2), "seeds": whole, "steps": whole}

    plain = backbone(tokens.unsqueeze(1), cache=caches[0].all_rows()).squeeze(1)
    expected = kernels.sample(head(plain), **rules)
    on_kernels_alone()
    tables = rotation_tables(backbone.config, 8, torch.float32, torch.device("cpu"))
    states = backbone.read_tokens(tokens, TokenStep(backbone.config, caches[1], torch.tensor(caches[1].tails), tables))
    agree(states, plain)
    ids, log_probabilities = kernels.sample(head(states), **rules)
    assert torch.equal(ids, expected[0])
    agree(log_probabilities, expected[1])


def agree(ours: Tensor, plain: Tensor, *, tolerance: float = TOLERANCE) -> None:
    scale = max(float(plain.abs().max()), 1.0)
    torch.testing.assert_close(ours / scale, plain / scale, atol=tolerance, rtol=tolerance)
