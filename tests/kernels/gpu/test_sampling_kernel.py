"""Drawing tokens in Triton's interpreter against sorting, and sorting against transformers' processors."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptapps.decoding.sampling import Sampling, draw_rows, trimmed_probabilities
from gptapps.kernels import reference_sampling, sample

RULES = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.4, 1.0, 2.5]),
    top_k=st.none() | st.integers(1, 400),
    top_p=st.sampled_from([1.0, 0.9, 0.5, 0.05]),
    min_p=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rules_of(samplings: list[Sampling], seeds: list[int], steps: list[int]) -> dict[str, Tensor]:
    return {
        "temperature": torch.tensor([one.temperature for one in samplings]),
        "top_k": torch.tensor([one.top_k or 0 for one in samplings], dtype=torch.int64),
        "top_p": torch.tensor([one.top_p for one in samplings]),
        "min_p": torch.tensor([one.min_p for one in samplings]),
        "seeds": torch.tensor(seeds, dtype=torch.int64),
        "steps": torch.tensor(steps, dtype=torch.int64),
    }


@settings(max_examples=25)
@given(
    samplings=st.lists(RULES, min_size=1, max_size=4),
    vocabulary=st.sampled_from([1, 2, 60, 300, 4097]),
    seed=st.integers(-(2**63), 2**63 - 5),
    step=st.integers(0, 2**31 - 1),
    ties=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_the_kernel_draws_what_sorting_draws(
    samplings: list[Sampling], vocabulary: int, seed: int, step: int, ties: bool, dtype: torch.dtype
) -> None:
    pytest.importorskip("triton")
    logits = normal(len(samplings), vocabulary, seed=seed % 1000)
    logits = (logits.round() if ties else logits).to(dtype)
    rules = rules_of(samplings, [seed + row for row in range(len(samplings))], [step] * len(samplings))
    ids, log_probabilities = sample(logits, **rules, impl="triton")
    expected, expected_log_probabilities = sample(logits.double(), **rules, impl="reference")
    nearly = _edges(logits, rules)
    assert torch.equal(ids[~nearly], expected[~nearly])
    same = ids == expected
    torch.testing.assert_close(log_probabilities[same].double(), expected_log_probabilities[same], atol=1e-4, rtol=1e-5)


def _edges(logits: Tensor, rules: dict[str, Tensor]) -> Tensor:
    """Return the rows in which a sum or a ratio meets its limit to the last digits, so that it may go either way."""
    wide = logits.double() / torch.where(rules["temperature"] == 0, 1.0, rules["temperature"]).unsqueeze(1)
    ordered = wide.sort(dim=1, descending=True).values
    weights = (ordered - ordered[:, :1]).exp()
    last = torch.where(rules["top_k"] > 0, rules["top_k"], logits.shape[1]).clamp_max(logits.shape[1]) - 1
    among = weights * (ordered >= ordered.gather(1, last.unsqueeze(1)))
    shares = (among.cumsum(1) - among) / among.sum(1, keepdim=True)
    met = (shares - rules["top_p"].unsqueeze(1)).abs() < 1e-5
    met |= ((weights - rules["min_p"].unsqueeze(1)).abs() < 1e-6) & (weights < 1)
    return met.any(1) & (rules["temperature"] > 0)


@given(RULES.filter(lambda one: not one.greedy), st.integers(0, 1000))
def test_only_what_the_decoder_keeps_is_drawn(sampling: Sampling, seed: int) -> None:
    logits = normal(60, seed=seed)
    kept = trimmed_probabilities(logits, sampling) > 0
    rows = 20
    ids, _ = draw_rows(logits.expand(rows, -1), [sampling] * rows, list(range(rows)), [seed] * rows)
    assert kept[ids].all()


def test_draws_follow_the_distribution() -> None:
    sampling = Sampling(temperature=1.5, top_k=4, top_p=0.9)
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 1.5])
    rows = 4000
    rules = rules_of([sampling] * rows, list(range(rows)), [3] * rows)
    ids, _ = sample(logits.expand(rows, -1), **rules, impl="reference")
    shares = torch.bincount(ids, minlength=5) / rows
    torch.testing.assert_close(shares, trimmed_probabilities(logits, sampling), atol=0.03, rtol=0)  # 4 standard errors


def test_noise_is_that_of_the_gumbel_distribution() -> None:
    noise = reference_sampling.gumbel(torch.tensor([5, 6]), torch.tensor([0, 0]), 50_000)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(torch.pi**2 / 6, abs=0.05)
    assert noise.isfinite().all()
    assert torch.corrcoef(noise)[0, 1].abs() < 0.02


@pytest.mark.parametrize("impl", ["triton", "reference"])
def test_a_row_draws_the_same_whatever_is_beside_it(impl: Literal["triton", "reference"]) -> None:
    if impl == "triton":
        pytest.importorskip("triton")
    logits = normal(5, 200)
    samplings = [Sampling(temperature=1.0 + row, top_p=0.9, top_k=row or None) for row in range(5)]
    together, _ = sample(logits, **rules_of(samplings, [9] * 5, [1, 2, 3, 4, 5]), impl=impl)
    alone = [
        sample(logits[row : row + 1], **rules_of([one], [9], [row + 1]), impl=impl)[0].item()
        for row, one in enumerate(samplings)
    ]
    assert together.tolist() == alone


def test_greedy_takes_the_lowest_of_equals_and_forbidden_tokens_are_never_drawn() -> None:
    pytest.importorskip("triton")
    logits = torch.tensor([[1.0, 4, 4, 0], [-torch.inf, -torch.inf, 0, -torch.inf], [-torch.inf, 1, -torch.inf, 0]])
    samplings = [Sampling(), Sampling(temperature=1.0, top_p=0.9), Sampling(temperature=1.0, top_k=3, top_p=0.5)]
    ids, log_probabilities = sample(logits, **rules_of(samplings, [1, 2, 3], [0, 0, 0]), impl="triton")
    assert ids.tolist() == [1, 2, 1]
    assert log_probabilities[1] == 0


def test_logits_that_are_not_contiguous_and_the_same_bits_twice() -> None:
    pytest.importorskip("triton")
    logits = normal(300, 3).T
    rules = rules_of([Sampling(temperature=1.0, top_k=40, top_p=0.8)] * 3, [1, 2, 3], [0, 0, 0])
    first, second = (sample(one, **rules, impl="triton") for one in (logits, logits.contiguous()))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    empty = sample(logits[:0], **{name: rule[:0] for name, rule in rules.items()}, impl="triton")
    assert [x.shape for x in empty] == [(0,), (0,)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operator_is_registered_as_pytorch_asks(dtype: torch.dtype) -> None:
    pytest.importorskip("triton")
    rules = rules_of([Sampling(temperature=1.0, top_k=5, top_p=0.8)] * 2, [1, 2], [0, 0])
    torch.library.opcheck(torch.ops.gptapps.sample.default, (normal(2, 30).to(dtype), *rules.values()))
