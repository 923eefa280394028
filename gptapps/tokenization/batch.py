"""Token ids of several texts in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps.errors import DataError


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Rows of token ids, padded on the right.

    Attributes:
        ids: (B, T) int64; row ``b`` is real up to ``lengths[b]`` and ``pad_id`` after it.
        lengths: (B,) int64, each at least 1; the longest is T.

    Example:
        >>> TokenBatch.from_lists([[5, 6, 7], [8]]).ids
        tensor([[5, 6, 7],
                [8, 0, 0]])
    """

    ids: Tensor
    lengths: Tensor

    @classmethod
    def from_lists(
        cls, ids: Sequence[Sequence[int]], pad_id: int = 0, device: torch.device | str | None = None
    ) -> TokenBatch:
        """Pad ``ids`` to the longest row.

        Args:
            ids: B rows of any length but 0.
            pad_id: what fills a row up; no result may depend on it.
            device: where the tensors go; the CPU if None.

        Raises:
            DataError: no rows, or a row without tokens.
        """
        if not ids:
            raise DataError("A batch needs at least one row of tokens, and there is none.")
        lengths = [len(row) for row in ids]
        if 0 in lengths:
            raise DataError(f"Row {lengths.index(0) + 1} of the batch has no tokens: leave empty texts out.")
        width = max(lengths)
        padded = [[*row, *[pad_id] * (width - len(row))] for row in ids]
        return cls(
            ids=torch.tensor(padded, dtype=torch.int64, device=device),
            lengths=torch.tensor(lengths, dtype=torch.int64, device=device),
        )
