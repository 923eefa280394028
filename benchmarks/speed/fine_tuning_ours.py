"""gptapps' side of learning a LoRA, run as a process: ``python -m benchmarks.speed.fine_tuning_ours``."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.speed.fine_tuning import Updates, learned
from benchmarks.speed.serving import serve

_TOKENS_AT_ONCE = 1024


class Ours:
    """The jobs; each method imports what it needs."""

    def updates(self, model: str, rows: list[dict[str, str]], examples: int, threads: int) -> Updates:
        """Return the token ids that each update learns from, through the prompts of ``summarize``."""
        import torch

        from gptapps.decoding.language_model import LanguageModel
        from gptapps.evaluation.evaluators import evaluator_for
        from gptapps.evaluation.selection import Item
        from gptapps.examples import SummarizationExample
        from gptapps.pipelines.factory import pipeline
        from gptapps.training.lessons import LessonMaker
        from gptapps.training.packing import Schedule, pack

        torch.set_num_threads(threads)
        loaded = LanguageModel.load(model, device="cpu", dtype="float32", offline=True)
        task = pipeline("summarize", model=loaded, language="en")
        items = [
            Item(number, None, f"row {number}", SummarizationExample(text=row["text"], summaries=(row["summary"],)))
            for number, row in enumerate(rows)
        ]
        evaluator = evaluator_for(task.definition.id, type(task))
        options = type(task).merged_options(task.definition, {"language": "en"})
        lessons = LessonMaker(task, evaluator, options, limit=1024).lessons(items)
        schedule = Schedule(lessons, batch_size=examples, max_tokens=_TOKENS_AT_ONCE, epochs=1, seed=0, packed=pack)
        return [
            [{"prompt": list(one.prompt), "target": list(one.target)} for one in schedule.lessons_of(update)]
            for update in range(schedule.updates)
        ]

    def learn(
        self,
        model: str,
        updates: Updates,
        rank: int,
        learning_rate: float,
        weight_decay: float,
        threads: int,
    ) -> dict[str, Any]:
        """Learn from all updates; return the losses, and the seconds and targets of those behind the first."""
        import torch

        from gptapps.decoding.language_model import LanguageModel
        from gptapps.heads.language_model import LanguageModelHead
        from gptapps.training.carrier import accelerator
        from gptapps.training.lessons import Lesson
        from gptapps.training.loop import Trainer
        from gptapps.training.lora import install_low_rank
        from gptapps.training.loss import TargetLoss
        from gptapps.training.packing import Schedule, pack
        from gptapps.training.recipe import Recipe

        class AsGiven(Schedule[Lesson]):
            """The updates in the order in which both sides get them."""

            def lessons_of(self, update: int) -> list[Lesson]:
                return [Lesson(tuple(one["prompt"]), tuple(one["target"])) for one in updates[update]]

        torch.set_num_threads(threads)
        loaded = LanguageModel.load(model, device="cpu", dtype="float32", offline=True)
        install_low_rank(loaded.backbone, rank=rank, alpha=2.0 * rank)
        if not isinstance(loaded.head, LanguageModelHead):
            raise TypeError("the model has no vocabulary head")
        moments = []
        schedule = AsGiven(
            [Lesson((0,), (0,))] * len(updates),
            batch_size=1,
            max_tokens=_TOKENS_AT_ONCE,
            epochs=1,
            seed=0,
            packed=partial(pack, share_opening=True),
        )
        with tempfile.TemporaryDirectory() as folder:
            done = Trainer(
                module=TargetLoss(loaded.backbone, loaded.head),
                schedule=schedule,
                recipe=Recipe(learning_rate=learning_rate, weight_decay=weight_decay, decline="constant", warmup=0.0),
                carrier=accelerator(torch.device("cpu")),
                folder=Path(folder),
                identity={},
                told=lambda what, done, total: moments.append(time.perf_counter()),
            ).run()
        return learned([row["loss"] for row in done.updates], moments, updates)


if __name__ == "__main__":
    serve(Ours())
