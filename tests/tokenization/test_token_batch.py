"""Rows of ids in one tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError
from gptapps.tokenization.batch import TokenBatch

rows_of_ids = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=7), min_size=1, max_size=5)


@given(rows=rows_of_ids, pad_id=st.integers(0, 99))
def test_rows_come_back_by_their_lengths(rows: list[list[int]], pad_id: int) -> None:
    batch = TokenBatch.from_lists(rows, pad_id=pad_id)
    assert batch.ids.shape == (len(rows), max(map(len, rows)))
    assert batch.ids.dtype == batch.lengths.dtype == torch.int64
    for row, padded, length in zip(rows, batch.ids.tolist(), batch.lengths.tolist(), strict=True):
        assert padded[:length] == row
        assert set(padded[length:]) <= {pad_id}


def test_a_batch_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="at least one row"):
        TokenBatch.from_lists([])


def test_a_row_without_tokens_is_named() -> None:
    with pytest.raises(DataError, match="Row 2"):
        TokenBatch.from_lists([[1], [], [2]])
