"""The trainings that one call makes: folds or seeds, whose numbers say how good it is, and the one that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gptapps.training.data import TrainingData, data_folds
from gptapps.training.few_examples import few_examples
from gptapps.training.plan import TrainingPlan

FINAL = "final"


@dataclass(frozen=True, slots=True)
class Round:
    """One training among several of a kind.

    Attributes:
        name: of its part of the work folder.
        data: to learn from and to measure on.
        seed: of everything that is drawn.
    """

    name: str
    data: TrainingData
    seed: int


class Rounds:
    """The rounds of a plan.

    Args:
        plan: how many folds and seeds.
        data: all of it.
        stops_early: whether the method needs data to know when to stop.

    Attributes:
        several: folds, or seeds, or nothing.
        final: the round of the model that is kept.

    Raises:
        GPTAppsError: the data doesn't suffice for so many folds, or so many examples of each label.
    """

    def __init__(self, plan: TrainingPlan, data: TrainingData, *, stops_early: bool) -> None:
        self._plan, self._data = plan, data
        self.several = tuple(self._rounds())
        self.final = self._final(stops_early)

    def _rounds(self) -> Iterator[Round]:
        plan = self._plan
        if plan.folds is not None:
            # Validation data of its own stays out of the folds; a share goes back among the rest.
            whole = replace(self._data, validation=()) if "validation" in self._data.checksums else self._data
            for number, data in enumerate(data_folds(whole, plan.folds, plan.seed), 1):
                yield Round(f"fold-{number}", data, plan.seed)
        elif plan.seeds > 1:
            for seed in range(plan.seed, plan.seed + plan.seeds):
                yield self._seeded(seed)

    def _seeded(self, seed: int) -> Round:
        few = self._plan.per_label
        return Round(f"seed-{seed}", self._data if few is None else few_examples(self._data, few, seed), seed)

    def _final(self, stops_early: bool) -> Round:
        """Return what the kept model is trained in: with several seeds, the first one's round.

        Folds say how good it is, so that it learns from what would be set aside, too, unless it needs that to know
        when to stop.
        """
        first = self._seeded(self._plan.seed)
        if self._plan.seeds > 1:
            return first
        if self._plan.folds is None or stops_early or "validation" in self._data.checksums:
            return replace(first, name=FINAL)
        everything = sorted(self._data.train + self._data.validation, key=lambda item: item.index)
        return Round(FINAL, replace(self._data, train=tuple(everything), validation=()), first.seed)
