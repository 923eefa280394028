"""lm-evaluation-harness with one backend or another, run as a process: ``python -m benchmarks.speed.harness_side``."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.speed.serving import Laps, serve


class HarnessSide:
    """The jobs; imports stand inside, because they are part of what is measured."""

    def evaluate(self, backend: str, model: str, folder: str, task: str, batch: int, threads: int) -> dict[str, Any]:
        """Run a task of a folder; return the log-likelihood of every choice and the seconds of each phase."""
        laps = Laps()
        import torch

        torch.set_num_threads(threads)
        laps.lap("torch")
        from lm_eval.api.registry import get_model
        from lm_eval.evaluator import evaluate
        from lm_eval.tasks import TaskManager

        if backend == "gptapps":
            import gptapps.integrations.lm_eval  # noqa: F401 (registers itself)
        kind = get_model(backend)
        laps.lap("import")
        arguments = {"pretrained": model, "dtype": "float32"}
        loaded = kind.create_from_arg_obj(arguments, {"batch_size": batch, "device": "cpu"})
        laps.lap("load")
        tasks = TaskManager(include_path=folder, include_defaults=False).load([task])
        laps.lap("tasks")
        score, seconds = loaded.loglikelihood, []

        def timed(requests: Any) -> Any:
            started = time.perf_counter()
            found = score(requests)
            seconds.append(time.perf_counter() - started)
            return found

        loaded.loglikelihood = timed
        results = evaluate(loaded, tasks, bootstrap_iters=0)
        laps.lap("evaluate")
        (scoring,) = seconds
        phases = {**laps.seconds, "evaluate": laps.seconds["evaluate"] - scoring, "score": scoring}
        return {
            "phases": phases,
            "scores": [[float(score) for ((score, _),) in sample["resps"]] for sample in results["samples"][task]],
            "accuracy": results["results"][task]["acc,none"],
        }


if __name__ == "__main__":
    serve(HarnessSide())
