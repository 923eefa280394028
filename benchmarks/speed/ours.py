"""gptapps' side, run as a process: ``python -m benchmarks.speed.ours``."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed.serving import Laps, serve

if TYPE_CHECKING:
    from gptapps.decoding.language_model import LanguageModel


class Ours:
    """The jobs; each method imports what it needs, because imports are part of what is measured."""

    def __init__(self) -> None:
        self._loaded: LanguageModel | None = None

    def continue_text(self, model: str, text: str, new_tokens: int, threads: int) -> dict[str, Any]:
        """From nothing to ``new_tokens`` greedy tokens after ``text``."""
        laps = Laps()
        import torch

        torch.set_num_threads(threads)
        laps.lap("torch")
        from gptapps.decoding.engine import Engine
        from gptapps.decoding.language_model import LanguageModel
        from gptapps.decoding.request import Request

        laps.lap("import")
        loaded = LanguageModel.load(model, device="cpu", dtype="float32", offline=True)
        laps.lap("load")
        prompt = loaded.tokenizer.encode(text)
        (completion,) = next(Engine(loaded).complete([Request(tuple(prompt), new_tokens)]))
        laps.lap("generate")
        return {"prompt": prompt, "tokens": list(completion.tokens), "phases": laps.seconds}

    def load(self, model: str, threads: int) -> None:
        """Load a model for the methods below, with no token that ends a text."""
        import torch

        from gptapps.decoding.language_model import LanguageModel

        torch.set_num_threads(threads)
        loaded = LanguageModel.load(model, device="cpu", dtype="float32", offline=True)
        endless = copy.copy(loaded.tokenizer)
        endless.eos_ids = ()
        self._loaded = replace(loaded, tokenizer=endless)

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return self._model.tokenizer.encode_batch(texts)

    def complete(self, prompts: list[list[int]], new_tokens: int) -> dict[str, Any]:
        """Continue all prompts together, greedily; return the tokens and the seconds it took."""
        from gptapps.decoding.engine import Engine
        from gptapps.decoding.request import Request

        engine = Engine(self._model, batch_size=len(prompts))
        started = time.perf_counter()
        done = list(engine.complete(Request(tuple(prompt), new_tokens) for prompt in prompts))
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "tokens": [list(completion.tokens) for (completion,) in done]}

    def margin(self, tokens: list[int]) -> float:
        """Return by how much the best next token's logit leads the second best's."""
        import torch

        with torch.inference_mode():
            hidden = self._model.read([tokens])
            first, second = self._model.logits(hidden[0, -1:]).topk(2).values[0].tolist()
        return float(first - second)

    def answer(
        self, model: str, folder: str, task: str, own_task: str, batch: int, threads: int, low_memory: bool
    ) -> dict[str, Any]:
        """Choose an answer to each question of a harness's task; return the log-likelihood of every choice.

        ``own_task`` is the task that asks in the same words. Labels' log-likelihoods are known but for a constant.
        """
        laps = Laps()
        import torch

        torch.set_num_threads(threads)
        laps.lap("torch")
        from gptapps import pipeline
        from gptapps.examples import ChoiceExample

        laps.lap("import")
        setup: dict[str, Any] = {"device": "cpu", "dtype": "float32", "batch_size": batch, "language": "en"}
        setup["low_memory"] = low_memory
        ask = pipeline(own_task, model=model, **setup)
        laps.lap("load")
        rows = _rows(Path(folder, f"{task}.jsonl"))
        if own_task != "choose":
            found = ask([row["text"] for row in rows])
            laps.lap("score")
            scores = [[math.log(output.scores[label]) for label in ask.definition.labels] for output in found]
            return {"phases": laps.seconds, "scores": scores}
        shots = [
            {"question": row["question"], "answer": row["choices"][row["answer"]]}
            for row in _rows(Path(folder, f"{task}-shots.jsonl"))
        ]
        questions = [ChoiceExample(question=row["question"], choices=tuple(row["choices"])) for row in rows]
        found = ask(questions, shots=shots, normalize="none")
        laps.lap("score")
        scores = [
            [output.log_likelihoods[choice] for choice in row["choices"]]
            for output, row in zip(found, rows, strict=True)
        ]
        return {"phases": laps.seconds, "scores": scores}

    def save(self, model: str, directory: str) -> None:
        """Write the model in the Hugging Face layout, float32."""
        from gptapps.decoding.language_model import LanguageModel
        from gptapps.heads.language_model import LanguageModelHead
        from gptapps.heads.loading import save_language_model

        loaded = LanguageModel.load(model, device="cpu", dtype="float32", offline=True)
        if not isinstance(loaded.head, LanguageModelHead):
            raise TypeError(f"{model} has a {type(loaded.head).__name__}, which can't be written.")
        save_language_model(loaded.backbone, loaded.head, Path(directory))
        loaded.tokenizer.save(Path(directory))

    @property
    def _model(self) -> LanguageModel:
        if self._loaded is None:
            raise RuntimeError("Nothing is loaded: call load first.")
        return self._loaded


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    serve(Ours())
