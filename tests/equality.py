"""What "the same" means where two ways of computing are compared."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

NEAR_TIE = 1e-3
"""Two logits this near to each other may change places with the shape of a batch, which moves them by 5e-5."""


def assert_same_tokens(ours: Sequence[int], theirs: Sequence[int], logits: Tensor) -> int:
    """Insist on equal greedy tokens until the first position whose two best logits are nearly tied.

    Args:
        ours, theirs: new tokens of two ways of computing.
        logits: (N, V), what the reference saw before each of its tokens.

    Returns:
        How many positions were compared; a test that wants all of them can say so.
    """
    assert len(ours) == len(theirs) == len(logits)
    for position, (own, their, scores) in enumerate(zip(ours, theirs, logits, strict=True)):
        best, second = scores.topk(2).values.tolist()
        if best - second < NEAR_TIE:
            return position
        assert own == their, f"token {position}: {own} instead of {their}, though {best:.4f} stands before {second:.4f}"
    return len(ours)
