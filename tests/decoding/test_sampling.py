"""Sampling against transformers' logits processors, and its laws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation import logits_process as theirs

from gptapps.decoding.sampling import Sampling, draw, penalize_repetition, trimmed_probabilities
from gptapps.errors import OptionError

VOCABULARY = 50
LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=VOCABULARY, max_size=VOCABULARY, unique=True).map(
    lambda values: torch.tensor(values, dtype=torch.float32)
)


def their_probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    ids = torch.zeros((1, 1), dtype=torch.long)
    scores = theirs.TemperatureLogitsWarper(sampling.temperature)(ids, logits.unsqueeze(0))
    if sampling.top_k is not None:
        scores = theirs.TopKLogitsWarper(sampling.top_k)(ids, scores)
    if sampling.top_p < 1:
        scores = theirs.TopPLogitsWarper(sampling.top_p)(ids, scores)
    if sampling.min_p > 0:
        scores = theirs.MinPLogitsWarper(sampling.min_p)(ids, scores)
    return scores.softmax(-1)[0]


@given(
    LOGITS,
    st.floats(0.1, 3),
    st.none() | st.integers(1, 2 * VOCABULARY),
    st.sampled_from([1.0, 0.95, 0.5, 0.1]),
    st.sampled_from([0.0, 0.02, 0.5]),
)
def test_the_distribution_is_that_of_transformers(
    logits: torch.Tensor, temperature: float, top_k: int | None, top_p: float, min_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    ours, reference = trimmed_probabilities(logits, sampling), their_probabilities(logits, sampling)
    edge = _mass_at_the_edge(logits, sampling)  # a cumulative sum that meets top_p to the last digit may go either way
    if not edge:
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-4)


def _mass_at_the_edge(logits: torch.Tensor, sampling: Sampling) -> bool:
    if sampling.top_p == 1:
        return False
    sums = (logits / sampling.temperature).softmax(0).sort(descending=True).values.double().cumsum(0)
    return bool(((sums - sampling.top_p).abs() < 1e-5).any())


@given(LOGITS, st.sets(st.integers(0, VOCABULARY - 1)), st.floats(0.5, 2))
def test_the_repetition_penalty_is_that_of_transformers(logits: torch.Tensor, seen: set[int], penalty: float) -> None:
    ours = penalize_repetition(logits, seen, penalty)
    if seen:
        ids = torch.tensor([sorted(seen)])
        reference = theirs.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.unsqueeze(0).clone())[0]
        torch.testing.assert_close(ours, reference)
    else:
        assert torch.equal(ours, logits)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    sampling = Sampling(temperature=1.0)
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[draw(logits, sampling, generator)] += 1
    torch.testing.assert_close(counts / 4000, logits.softmax(0), atol=0.03, rtol=0)  # 4 standard errors


@given(LOGITS, st.integers(0, 2**31), st.integers(1, 5))
def test_no_token_outside_the_kept_ones_is_drawn(logits: torch.Tensor, seed: int, top_k: int) -> None:
    sampling = Sampling(temperature=0.7, top_k=top_k)
    token = draw(logits, sampling, torch.Generator().manual_seed(seed))
    assert token in logits.topk(top_k).indices.tolist()


def test_as_many_numbers_are_used_whatever_is_kept() -> None:
    generator, twin = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    draw(torch.randn(9), Sampling(temperature=2.0), generator)
    draw(torch.randn(9), Sampling(temperature=0.3, top_k=2), twin)
    assert torch.equal(generator.get_state(), twin.get_state())


def test_rounding_changes_no_draw() -> None:
    logits = torch.randn(50_000, generator=torch.Generator().manual_seed(1))
    noisy = logits + 1e-6 * torch.randn(50_000, generator=torch.Generator().manual_seed(2))
    sampling = Sampling(temperature=1.0)
    for seed in range(200):
        drawn = [draw(values, sampling, torch.Generator().manual_seed(seed)) for values in (logits, noisy)]
        assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]
