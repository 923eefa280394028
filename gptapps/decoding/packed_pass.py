"""One pass through the model over stretches of many texts, none padded.

Symbols: C channels, S tokens read before, T new tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gptapps.backbone.branching import Branching
from gptapps.decoding.branching_texts import Stretch
from gptapps.decoding.language_model import LanguageModel


class PackedPass:
    """What one pass reads, and where in it each stretch stands.

    Args:
        members: stretches, each behind what it follows; what stands above them was read before, or is in front of them.

    Attributes:
        tokens: T, of all members.
        places: for each member the place of its first token, by ``id``.
    """

    def __init__(self, members: Sequence[Stretch]) -> None:
        self.members = members
        self.tokens = 0
        self.places: dict[int, int] = {}
        for stretch in members:
            self.places[id(stretch)] = self.tokens
            self.tokens += len(stretch.tokens)
        self._past: list[tuple[Tensor, Tensor]] = []
        self._past_positions: list[Tensor] = []
        self._past_places: dict[int, range] = {}
        self._past_tokens = 0

    def read(self, model: LanguageModel, needed: set[int]) -> Tensor:
        """Return the hidden states (T, C), and leave keys and values in the members whose ``id`` is needed."""
        device = model.backbone.device
        ids = torch.tensor([token for stretch in self.members for token in stretch.tokens], device=device)
        cache = model.new_cache() if any(id(stretch) in needed for stretch in self.members) else None
        rows = cache.add_rows(1) if cache is not None else None
        branching = self._branching(device)
        hidden: Tensor
        if branching is None:
            hidden = model.backbone(ids.unsqueeze(0), cache=rows).squeeze(0)
        else:
            hidden = model.backbone.read_branched(ids, branching, cache=rows)
        for stretch in self.members if cache is not None else ():
            if cache is not None and id(stretch) in needed:
                own = slice(self.places[id(stretch)], self.places[id(stretch)] + len(stretch.tokens))
                stretch.keys, stretch.values = cache.keys[:, 0, :, own].clone(), cache.values[:, 0, :, own].clone()
        return hidden

    def _branching(self, device: torch.device) -> Branching | None:
        """Return who sees whom; None where it is a single text from its start, which causality alone describes."""
        befores = [list(self._before(stretch)) for stretch in self.members]
        past = self._past_tokens
        if not past and len(self.members) == 1:
            return None
        visible = torch.zeros(self.tokens, past + self.tokens, dtype=torch.bool)  # (T, S + T)
        for stretch, before in zip(self.members, befores, strict=True):
            first = self.places[id(stretch)]
            behind = first + len(stretch.tokens)
            above = self.places.get(id(stretch.above))
            if stretch.above is not None and above is not None:
                visible[first:behind] = visible[above + len(stretch.above.tokens) - 1]
            for places in before:
                visible[first:behind, places.start : places.stop] = True
            visible[first:behind, past + first : past + behind] = _causal(behind - first)
        positions = [torch.arange(stretch.begin, stretch.end) for stretch in self.members]
        return Branching(
            torch.cat(positions).to(device),
            visible.to(device),
            self._past,
            torch.cat(self._past_positions).to(device) if past else None,
        )

    def _before(self, stretch: Stretch) -> Iterator[range]:
        """Yield where among the tokens read before those stand that this stretch follows, but not its own pass."""
        above = stretch.above
        while above is not None and above.above is not None:
            if id(above) in self.places:
                return
            if above.keys is None or above.values is None:
                raise ValueError("what stands above a stretch is read before it")
            yield self._past_place(above, above.keys, above.values, above.begin)
            above = above.above
        for segment in stretch.node.segment.chain() if stretch.node.segment else ():
            yield self._past_place(segment, segment.keys, segment.values, segment.start)

    def _past_place(self, owner: object, keys: Tensor, values: Tensor, begin: int) -> range:
        if id(owner) not in self._past_places:
            size = keys.shape[2]
            self._past_places[id(owner)] = range(self._past_tokens, self._past_tokens + size)
            self._past.append((keys, values))
            self._past_positions.append(torch.arange(begin, begin + size))
            self._past_tokens += size
        return self._past_places[id(owner)]


def _causal(size: int) -> Tensor:
    return torch.ones(size, size, dtype=torch.bool).tril()
