"""Which stretches of the text each update learns from.

The text is cut into blocks of the context's length, across the borders of texts, whose tokens stand between them.

Source: Brown et al. 2020 (GPT-3), appendix B.

Symbols: T tokens of a pack, M of them learned.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from gptapps.training.packing import Pack
from gptapps.training.pretraining.objectives import Objective, Stretch
from gptapps.training.pretraining.token_store import Ids

_OF_VALIDATION = 1 << 31  # in place of an epoch, for what is drawn


class BlockUpdates:
    """The blocks of a text in an order of their own each epoch; see :class:`~gptapps.training.packing.Updates`.

    Args:
        ids: (N,) token ids of all texts.
        objective: what is learned of a block.
        context: the most tokens that a block reads.
        blocks_per_update: over all processes.
        blocks_at_once: that a pack has at most.
        epochs: how often all blocks are taken.
        limit: the most updates, over as many epochs as they take; None for those of ``epochs``.
        seed: of the orders and of what the objective draws.
        processes: that share the work of each update.
    """

    def __init__(
        self,
        ids: Ids,
        objective: Objective,
        *,
        context: int,
        blocks_per_update: int,
        blocks_at_once: int,
        epochs: int = 1,
        limit: int | None = None,
        seed: int = 0,
        processes: int = 1,
    ) -> None:
        self._ids, self._objective, self._context = ids, objective, context
        self._per_update, self._at_once = blocks_per_update, blocks_at_once
        self._seed, self._processes = seed, processes
        self._blocks = -(-(len(ids) - objective.ahead) // context)
        self.updates_per_epoch = -(-self._blocks // blocks_per_update)
        self.updates = epochs * self.updates_per_epoch if limit is None else limit
        self._order: tuple[int, list[int]] = (-1, [])

    def amount(self, update: int) -> tuple[float, int]:
        """Return how many tokens an update learns, twice: all have the weight 1."""
        count = sum(self._objective.count(self._ids_of(block)) for block in self._blocks_of(update)[1])
        return float(count), count

    def packs(self, update: int, process: int = 0) -> list[Pack]:
        """Return a process's packs of an update; none where it has no share."""
        epoch, blocks = self._blocks_of(update)
        mine = blocks[process :: self._processes]
        groups = [mine[start : start + self._at_once] for start in range(0, len(mine), self._at_once)]
        return [pack(self._stretches(group, epoch)) for group in groups]

    def validation_packs(self, tokens: int) -> Iterator[Pack]:
        """Yield the first blocks in their order, so many as ``tokens`` fill; what is drawn is always the same."""
        blocks = range(min(self._blocks, max(tokens // self._context, 1)))
        for start in range(0, len(blocks), self._at_once):
            yield pack(self._stretches(blocks[start : start + self._at_once], _OF_VALIDATION))

    def _stretches(self, blocks: Sequence[int], epoch: int) -> list[Stretch]:
        return [self._objective.stretch(self._ids_of(block), (self._seed, epoch, block)) for block in blocks]

    def _blocks_of(self, update: int) -> tuple[int, list[int]]:
        epoch, number = divmod(update, self.updates_per_epoch)
        if self._order[0] != epoch:
            order = list(range(self._blocks))
            random.Random(f"{self._seed} {epoch}").shuffle(order)
            self._order = (epoch, order)
        return epoch, self._order[1][number * self._per_update : (number + 1) * self._per_update]

    def _ids_of(self, block: int) -> Ids:
        start = block * self._context
        return self._ids[start : start + self._context + self._objective.ahead]


def pack(stretches: Sequence[Stretch]) -> Pack:
    """Lay stretches one behind the other; none will see another."""
    texts = tuple(len(one.tokens) for one in stretches)
    starts = np.cumsum([0, *texts[:-1]])
    places = np.concatenate([one.places + start for one, start in zip(stretches, starts, strict=True)])
    return Pack(
        torch.from_numpy(np.concatenate([one.tokens for one in stretches])),
        0,
        texts,
        torch.from_numpy(places),
        torch.from_numpy(np.concatenate([one.targets for one in stretches])),
        torch.ones(len(places)),
    )
