"""Attention over texts that branch in one row, stretch by stretch: each looks at the keys of its own text only.

A mask over all queries and keys of the row computes every score and throws most away; on a processor that is a fifth of
reading short texts. Here queries that follow each other in a text are a stretch, stretches that see about as many keys
are a group, and a group is one attention with little padding.

Symbols: S keys read before, T new tokens, H heads, K key/value heads, D head size; N stretches of a group, Q queries
and M keys of its longest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gptapps import kernels
from gptapps.kernels import Visibility

_OF_A_CALL = 12_000  # scores that take as long as gathering a group and calling for its attention
_WORTH_IT = 0.7  # share of the whole row's scores


@dataclass(frozen=True, slots=True)
class _Group:
    queries: Tensor  # (N, Q) places among the new tokens
    keys: Tensor  # (N, M) places among all keys
    is_key: Tensor  # (N, M), False for padding

    def mask(self, visible: Tensor) -> Tensor:
        """Return (N, 1, Q, M) for (T, S + T)."""
        seen = visible[self.queries.unsqueeze(2), self.keys.unsqueeze(1)] & self.is_key.unsqueeze(1)
        return seen.unsqueeze(1)


class BranchGroups:
    """How the new tokens of a row are laid out for attention.

    Args:
        groups: the stretches.
        places: (T,) where each new token stands among the queries of all groups, padding included.
    """

    def __init__(self, groups: list[_Group], places: Tensor) -> None:
        self._groups = groups
        self._places = places
        self._masks: dict[int | None, list[Tensor]] = {}

    @classmethod
    def of(cls, visible: Tensor) -> BranchGroups | None:
        """Return the layout for (T, S + T) bool; None where a single masked attention is as good."""
        tokens, keys = visible.shape
        # A token goes on with the stretch where it sees one key more than the one before it: itself.
        begins = (visible[1:] ^ visible[:-1]).sum(1) != 1
        starts = [0, *(begins.nonzero().flatten() + 1).tolist()]
        ends = [*starts[1:], tokens]
        seen = visible[torch.tensor(ends) - 1]
        counts = seen.sum(1).tolist()
        members = _by_keys(counts)
        sizes = [(len(group), max(ends[n] - starts[n] for n in group), counts[group[0]]) for group in members]
        if sum(number * queries * most + _OF_A_CALL for number, queries, most in sizes) > _WORTH_IT * tokens * keys:
            return None
        of_stretch = torch.split(seen.nonzero()[:, 1], counts)
        groups, places, behind = [], torch.empty(tokens, dtype=torch.long), 0
        for group, (_, longest, _) in zip(members, sizes, strict=True):
            steps = torch.arange(longest)
            first = torch.tensor([starts[n] for n in group]).unsqueeze(1)
            last = torch.tensor([ends[n] - 1 for n in group]).unsqueeze(1)
            queries = (first + steps).minimum(last)  # padding says the last one's again
            is_query = first + steps <= last
            places[queries[is_query]] = behind + is_query.flatten().nonzero().flatten()
            padded = pad_sequence([of_stretch[n] for n in group], batch_first=True, padding_value=-1)
            groups.append(_Group(queries, padded.clamp_min(0), padded >= 0))
            behind += queries.numel()
        return cls(groups, places)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor, *, scale: float, window: int | None) -> Tensor:
        """Attend from each new token to its own text.

        Args:
            q: (1, H, T, D).
            k, v: (1, K, S + T, D).
            visible: (T, S + T) bool for layers of this window.
            scale: multiplies the scores.
            window: by which the masks made from ``visible`` are known again.

        Returns:
            (1, H, T, D).
        """
        if window not in self._masks:
            self._masks[window] = [group.mask(visible) for group in self._groups]
        parts = []
        for group, mask in zip(self._groups, self._masks[window], strict=True):
            queries = q[0][:, group.queries].transpose(0, 1)  # (N, H, Q, D)
            keys, values = (x[0][:, group.keys].transpose(0, 1) for x in (k, v))
            out = kernels.attention(queries, keys, values, scale=scale, visible=Visibility(mask=mask))
            parts.append(out.transpose(0, 1).flatten(1, 2))
        return torch.cat(parts, 1)[:, self._places].unsqueeze(0)


def _by_keys(counts: list[int]) -> list[list[int]]:
    """Group numbers of stretches so that none in a group sees fewer than half the keys of its first."""
    groups: list[list[int]] = []
    for number in sorted(range(len(counts)), key=lambda number: -counts[number]):
        if not groups or 2 * counts[number] < counts[groups[-1][0]]:
            groups.append([])
        groups[-1].append(number)
    return groups
