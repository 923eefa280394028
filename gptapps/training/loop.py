"""The training loop: updates, evaluations, checkpoints, and the best of them at the end.

accelerate brings the devices, mixed precision and processes; what is learned in which update, and how a run that was
killed goes on to the same weights, is decided here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptapps.errors import OptionError
from gptapps.training.board import Board
from gptapps.training.checkpoints import Checkpoints, Progress
from gptapps.training.optimizer import learning_rate_factor, make_optimizer, optimizer_tensors, restore_optimizer
from gptapps.training.packing import Pack, Updates
from gptapps.training.recipe import Evaluation, Learned, Recipe
from gptapps.training.sharding import (
    added_up_later,
    agreed,
    all_gathered,
    gathered,
    give_back,
    most,
    spread,
    spread_like,
    whole,
)

Told = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is, and how much there is."""


_CHECKPOINT_SECONDS = 60.0
_CHECKPOINT_SHARE = 0.05  # of the time, at most, goes into writing checkpoints


@dataclass(slots=True)
class Trainer:
    """Trains a module on the packs of a schedule.

    A run that was killed at any moment, and is started again with the same arguments, goes on from its last
    checkpoint to the same weights, bit for bit with the same number of threads.

    Args:
        module: returns the summed loss of a pack; its parameters that require a gradient are learned.
        schedule: what each update learns from.
        recipe: how.
        carrier: from :func:`~gptapps.training.carrier.accelerator`.
        folder: for checkpoints and logs.
        identity: everything else that decides what is learned, for telling trainings apart.
        evaluation: how the model is judged; None keeps the last weights.
        told: called after each update.
        shard: spread what is learned over the processes; see :mod:`gptapps.training.sharding`.

    Attributes:
        learning: what the updates change: the module, or its spread copy.
    """

    module: nn.Module
    schedule: Updates
    recipe: Recipe
    carrier: Any
    folder: Path
    identity: Mapping[str, Any]
    evaluation: Evaluation | None = None
    told: Told | None = None
    shard: bool = False
    learning: nn.Module = field(init=False)
    _saved_at: float = field(default=0.0, init=False)
    _save_seconds: float = field(default=0.0, init=False)

    def run(self) -> Learned:
        """Train to the end, or from where an earlier run was killed.

        Raises:
            OptionError: the folder holds another training, or the loss became infinite.
            ResourceError: the disk is full.
        """
        self.learning = spread(self.module, self.carrier.device) if self.shard else self.module
        optimizer = make_optimizer(
            self.learning.named_parameters(),
            learning_rate=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
        )
        checkpoints = Checkpoints(self.folder / "checkpoints", self.identity)
        progress, best = self._resume(checkpoints, optimizer)
        model, stepping = self._prepared(optimizer)
        board = Board(self.folder / "logs" if self.carrier.is_main_process else None, progress.update)
        self._saved_at = time.monotonic()
        written = best  # what the newest checkpoint holds
        try:
            with torch.random.fork_rng(devices=self._cuda_devices()):
                while progress.update < self.schedule.updates and not progress.stopped:
                    began = time.monotonic()
                    row = self._update(model, stepping, progress.update)
                    progress.update += 1
                    progress.updates.append({"update": progress.update, **row})
                    board.add("train", progress.update, row)
                    if self._is_evaluated(progress.update):
                        best = self._evaluate(progress, board) or best
                    progress.seconds += time.monotonic() - began
                    if self._is_saved(progress):
                        self._save(checkpoints, progress, optimizer, None if best is written else best)
                        written = best
                    if self.told is not None:
                        self.told("train", progress.update, self.schedule.updates)
        finally:
            board.close()
        self.carrier.wait_for_everyone()
        if best:
            self._put(best)
        if self.shard:
            give_back(self.module, self.learning)
        return Learned(
            tuple(progress.updates), tuple(progress.evaluations), progress.best, progress.stopped, progress.seconds
        )

    def _prepared(self, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        if self.shard:  # accelerate would copy the whole module to every process
            return self.learning, self.carrier.prepare(optimizer)
        model, stepping = self.carrier.prepare(self.module, optimizer)
        return model, stepping

    def _update(self, model: nn.Module, optimizer: Any, update: int) -> dict[str, float]:
        rate = self.recipe.learning_rate * learning_rate_factor(
            update, updates=self.schedule.updates, warmup=self.recipe.warmup, decline=self.recipe.decline
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        processes, process = self.carrier.num_processes, self.carrier.process_index
        # What is drawn in an update depends on its number only, so no state of it has to be kept.
        torch.manual_seed((self.recipe.seed * 1_000_003 + update) * processes + process)
        weight, targets = self.schedule.amount(update)
        packs = self._packs(update, process)
        model.train()
        total = torch.zeros((), device=self.carrier.device)
        for number, pack in enumerate(packs, 1):
            # Processes add their gradients up with the last pack.
            with self._waiting(model) if number < len(packs) else nullcontext():
                with self.carrier.autocast():
                    loss = model(pack)
                total += loss.detach()
                # Processes average their gradients; the sum over all targets divided by their weight is wanted.
                self.carrier.backward(loss * (processes / weight))
        loss_sum = float(self.carrier.reduce(total, reduction="sum"))
        norm = self._clip(model)
        # With half precision an infinite gradient is met by a smaller scale.
        if not math.isfinite(loss_sum) or (self.carrier.scaler is None and not math.isfinite(norm)):
            raise OptionError(
                f"Update {update + 1} has a loss of {loss_sum:.4g} with a gradient of {norm:.4g}, so nothing more can "
                "be learned: lower learning_rate, or choose another precision."
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {
            "loss": loss_sum / weight,
            "learning_rate": rate,
            "gradient_norm": norm,
            "targets": float(targets),
        }

    def _packs(self, update: int, process: int) -> list[Pack]:
        packs = list(self.schedule.packs(update, process))
        # Processes that share their weights read the same number of packs, since each gives the others its part.
        count = most(len(packs), self.carrier.device) if self.shard else max(len(packs), 1)
        if len(packs) < count:
            packs += [_idle((packs or self.schedule.packs(update, 0))[0])] * (count - len(packs))
        return packs

    def _waiting(self, model: nn.Module) -> AbstractContextManager[Any]:
        waiting: AbstractContextManager[Any] = added_up_later(model) if self.shard else self.carrier.no_sync(model)
        return waiting

    def _clip(self, model: nn.Module) -> float:
        bound = self.recipe.clip if self.recipe.clip is not None else float("inf")
        norm = self.carrier.clip_grad_norm_(model.parameters(), bound)
        return float(gathered(norm))

    def _is_evaluated(self, update: int) -> bool:
        if self.evaluation is None:
            return False
        if update == self.schedule.updates:  # which needn't be the end of an epoch
            return True
        span = min(self.schedule.updates_per_epoch, self.schedule.updates)
        place, times = (update - 1) % span + 1, min(self.recipe.evaluations, span)
        return any(place == -(-number * span // times) for number in range(1, times + 1))

    def _evaluate(self, progress: Progress, board: Board) -> dict[str, Tensor] | None:
        """Judge the model; return its weights where it is the best so far."""
        evaluation = self.evaluation
        if evaluation is None:
            return None
        self.module.eval()
        with whole(self.module, self.learning) if self.shard else nullcontext():
            values = dict(evaluation.measure())
            epoch = progress.update / self.schedule.updates_per_epoch
            row = {"update": float(progress.update), "epoch": epoch, **values}
            if evaluation.seen is not None:
                evaluation.seen(row)
        self.module.train()
        progress.evaluations.append(row)
        board.add("validation", progress.update, values)
        judged = evaluation.sign * values[evaluation.decides]
        better = progress.best is None or judged > evaluation.sign * progress.best[evaluation.decides]
        if self.carrier.num_processes > 1:
            better = agreed(better, self.carrier.device)  # else one might end, and the others wait for it
        if better:
            progress.best, progress.stale = row, 0
            return {name: tensor.detach().clone() for name, tensor in self._trained()}
        progress.stale += 1
        progress.stopped = self.recipe.patience is not None and progress.stale >= self.recipe.patience
        return None

    def _is_saved(self, progress: Progress) -> bool:
        due = self._is_due(progress)
        return agreed(due, self.carrier.device) if self.shard else due  # all give the checkpoint their parts

    def _is_due(self, progress: Progress) -> bool:
        if progress.update == self.schedule.updates or progress.stopped:
            return True
        if self.recipe.checkpoint_every is not None:
            return progress.update % self.recipe.checkpoint_every == 0
        pause = max(_CHECKPOINT_SECONDS, self._save_seconds / _CHECKPOINT_SHARE)
        return time.monotonic() - self._saved_at > pause

    def _save(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        optimizer: torch.optim.Optimizer,
        best: Mapping[str, Tensor] | None,
    ) -> None:
        if self.carrier.is_main_process or self.shard:
            began = time.monotonic()
            names: dict[Tensor, str] = {parameter: name for name, parameter in self._trained()}
            scaler = self.carrier.scaler.state_dict() if self.carrier.scaler is not None else None
            weights, kept = all_gathered(dict(self._trained())), all_gathered(optimizer_tensors(optimizer, names))
            best = all_gathered(best) if best else None
            if self.carrier.is_main_process:
                checkpoints.write(progress, weights, kept, best, scaler)
            self._save_seconds = time.monotonic() - began
        self._saved_at = time.monotonic()

    def _resume(self, checkpoints: Checkpoints, optimizer: torch.optim.Optimizer) -> tuple[Progress, dict[str, Tensor]]:
        found = checkpoints.read()
        if found is None:
            return Progress(), {}
        self._put(found.weights)
        names: dict[Tensor, str] = {parameter: name for name, parameter in self._trained()}
        restore_optimizer(optimizer, found.optimizer, names)
        if found.scaler and self.carrier.scaler is not None:
            self.carrier.scaler.load_state_dict(dict(found.scaler))
        best = {name: spread_like(found.best[name], one) for name, one in self._trained() if name in found.best}
        return found.progress, best

    def _trained(self) -> Iterable[tuple[str, nn.Parameter]]:
        return ((name, one) for name, one in self.learning.named_parameters() if one.requires_grad)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self._trained():
            parameter.copy_(spread_like(tensors[name], parameter))

    def _cuda_devices(self) -> list[int]:
        device = self.carrier.device
        return [device.index or 0] if device.type == "cuda" else []


def _idle(pack: Pack) -> Pack:
    """Return a pack that teaches nothing, for a process that has no share of an update."""
    return replace(pack, weights=torch.zeros_like(pack.weights))
