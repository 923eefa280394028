"""BPE merges from a SentencePiece vocabulary, which doesn't list them.

SentencePiece's BPE joins, at each step, the two neighbours whose union scores highest. A merge list says the
same: every way to cut a token into two tokens is a merge, ranked by the token's score.

Source: Kudo and Richardson, "SentencePiece" (2018), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def derive_merges(vocabulary: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the merges of a SentencePiece BPE vocabulary, best first.

    Args:
        vocabulary: token -> id; every piece of a merge is in it.
        scores: token -> score, for the tokens that merging may produce; ``math.inf`` goes before all others.
            Equal scores are ranked by id, the cuts of one token by the length of the left piece, longest first.

    Example:
        >>> derive_merges({"a": 0, "b": 1, "ab": 2}, {"ab": 0.0})
        [('a', 'b')]
    """
    ranked = sorted(scores, key=lambda token: (-scores[token], vocabulary[token]))
    return [
        (token[:cut], token[cut:])
        for token in ranked
        for cut in range(len(token) - 1, 0, -1)
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]


FIRST = math.inf
"""The score of a token that is merged before all others."""
