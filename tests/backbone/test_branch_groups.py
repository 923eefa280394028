"""Attention stretch by stretch is one masked attention over all, whatever the texts share."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptapps.backbone import branch_groups
from gptapps.backbone.branch_groups import BranchGroups
from gptapps.kernels import reference


def some_texts(seed: int, stretches: int, past: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return who sees whom, (T, S + T), and the place of every key, where stretches go on from any earlier one."""
    draw = random.Random(seed)
    seen_by: list[tuple[list[int], int]] = [(list(range(past)), past)]  # what a stretch's end sees, and its position
    rows: list[list[int]] = []
    positions = list(range(past))
    for _ in range(stretches):
        before, position = seen_by[draw.randrange(len(seen_by))]
        own = list(before)
        for _ in range(draw.randint(1, longest)):
            own = [*own, past + len(rows)]
            rows.append(own)
            positions.append(position)
            position += 1
        seen_by.append((own, position))
    visible = torch.zeros(len(rows), past + len(rows), dtype=torch.bool)
    for row, own in enumerate(rows):
        visible[row, own] = True
    return visible, torch.tensor(positions)


@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
@given(
    seed=st.integers(0, 2**32 - 1),
    stretches=st.integers(1, 12),
    past=st.sampled_from([0, 1, 7]),
    longest=st.sampled_from([1, 4, 30]),
    window=st.sampled_from([None, 3]),
)
def test_as_one_masked_attention(
    heads: tuple[int, int], seed: int, stretches: int, past: int, longest: int, window: int | None
) -> None:
    visible, positions = some_texts(seed, stretches, past, longest)
    seen = visible if window is None else visible & (positions[past:].unsqueeze(1) - positions < window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branch_groups, "_WORTH_IT", 10**9)  # always
        groups = BranchGroups.of(visible)
    assert groups is not None
    generator = torch.Generator().manual_seed(seed)
    tokens, keys = visible.shape
    q = torch.randn(1, heads[0], tokens, 8, generator=generator)
    k, v = torch.randn(2, 1, heads[1], keys, 8, generator=generator)
    expected = reference.attention(q, k, v, scale=0.3, mask=seen.view(1, 1, tokens, keys), causal=False)
    for _ in range(2):  # the second time with the masks of the first
        out = groups.attend(q, k, v, seen, scale=0.3, window=window)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_many_short_texts_are_grouped_and_a_shared_document_is_not() -> None:
    sizes = [40, 25, 38, 9] * 6
    lone = torch.block_diag(*[torch.ones(size, size).tril() for size in sizes]).bool()
    assert BranchGroups.of(lone) is not None
    branches = torch.block_diag(*[torch.ones(8, 8).tril() for _ in range(20)]).bool()
    behind_document = torch.cat((torch.ones(160, 1000, dtype=torch.bool), branches), 1)
    assert BranchGroups.of(behind_document) is None


def test_fewer_scores_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = 0
    plain = branch_groups.kernels.attention

    def counted(q: torch.Tensor, k: torch.Tensor, *rest: torch.Tensor, **options: object) -> torch.Tensor:
        nonlocal computed
        computed += len(q) * q.shape[2] * k.shape[2]
        return plain(q, k, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(branch_groups.kernels, "attention", counted)
    lone = torch.block_diag(*[torch.ones(30, 30).tril() for _ in range(30)]).bool()
    groups = BranchGroups.of(lone)
    assert groups is not None
    x = torch.randn(1, 2, 900, 8)
    groups.attend(x, x, x, lone, scale=1.0, window=None)
    assert computed == 30 * 30 * 30
