"""Every transform is its own way back, and means what the checkpoints mean by it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gptapps.backbone.config import AttentionConfig
from gptapps.backbone.families import FAMILIES
from gptapps.backbone.transforms import (
    GATE_UP,
    INTERLEAVED_QKV,
    PAIRED_QKV,
    QKV,
    TRANSFORMS,
    TRANSPOSE,
    Transform,
)


@st.composite
def shapes(draw: st.DrawFn, transform: Transform) -> tuple[AttentionConfig, Tensor]:
    """Draw an attention shape and a tensor of ours that the transform can take."""
    groups = 1 if transform is INTERLEAVED_QKV else draw(st.integers(1, 3))
    kv_heads, size = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 3))
    shape = AttentionConfig(heads=groups * kv_heads, kv_heads=kv_heads, head_size=size, scale=1.0)
    rows = (shape.heads + 2 * kv_heads) * size
    columns = draw(st.integers(1, 4))
    matrix = transform is TRANSPOSE or draw(st.booleans())
    tensor = torch.randn((rows, columns) if matrix else (rows,), generator=torch.Generator().manual_seed(columns))
    return shape, tensor


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.name)
@given(data=st.data())
def test_joining_undoes_splitting(transform: Transform, data: st.DataObject) -> None:
    shape, tensor = data.draw(shapes(transform))
    parts = transform.split(tensor, shape)
    assert len(parts) == transform.parts
    joined = transform.join(parts, shape)
    assert joined.shape == tensor.shape
    torch.testing.assert_close(joined, tensor, atol=1e-6, rtol=0)  # adding and taking away one rounds
    again = transform.split(joined, shape)
    for part, first in zip(again, parts, strict=True):
        torch.testing.assert_close(part, first, atol=1e-6, rtol=0)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.name)
@given(data=st.data())
def test_shapes_are_told_without_memory(transform: Transform, data: st.DataObject) -> None:
    shape, tensor = data.draw(shapes(transform))
    real, told = transform.split(tensor, shape), transform.split(tensor.to("meta"), shape)
    assert [part.shape for part in told] == [part.shape for part in real]


def test_queries_stand_before_keys_before_values() -> None:
    shape = AttentionConfig(heads=2, kv_heads=1, head_size=2, scale=1.0)
    joined = QKV.join([torch.tensor([1, 2, 3, 4]), torch.tensor([5, 6]), torch.tensor([7, 8])], shape)
    assert joined.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_gate_stands_before_up() -> None:
    shape = AttentionConfig(heads=1, kv_heads=1, head_size=2, scale=1.0)
    assert GATE_UP.join([torch.tensor([1, 2]), torch.tensor([3, 4])], shape).tolist() == [1, 2, 3, 4]


def test_heads_that_were_interleaved_are_collected() -> None:
    shape = AttentionConfig(heads=2, kv_heads=2, head_size=1, scale=1.0)
    fused = torch.tensor([10, 20, 30, 11, 21, 31])  # q k v of head 0, q k v of head 1
    assert INTERLEAVED_QKV.join([fused], shape).tolist() == [10, 11, 20, 21, 30, 31]


def test_rotary_pairs_are_parted_in_queries_and_keys_only() -> None:
    shape = AttentionConfig(heads=1, kv_heads=1, head_size=4, scale=1.0)
    parts = [torch.tensor([0, 2, 1, 3]), torch.tensor([4, 6, 5, 7]), torch.tensor([8, 9, 10, 11])]
    assert PAIRED_QKV.join(parts, shape).tolist() == list(range(12))


@pytest.mark.parametrize("family", sorted({family.name for family in FAMILIES.values()}))
def test_tables_use_the_closed_set_with_the_right_number_of_parts(family: str) -> None:
    for row in FAMILIES[family].rows:
        assert row.transform in TRANSFORMS
        assert len(row.theirs) == row.transform.parts
