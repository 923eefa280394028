"""transformers' side, run as a process: ``python -m benchmarks.speed.theirs``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.speed.serving import Laps, serve


class Theirs:
    """The jobs; each method imports what it needs, because imports are part of what is measured."""

    def __init__(self) -> None:
        self._model: Any = None

    def continue_text(self, model: str, text: str, new_tokens: int, threads: int) -> dict[str, Any]:
        """From nothing to ``new_tokens`` greedy tokens after ``text``; ``model`` is a directory or a GGUF file."""
        laps = Laps()
        import torch

        torch.set_num_threads(threads)
        laps.lap("torch")
        import transformers

        pipeline: Any = transformers.pipeline
        laps.lap("import")
        if Path(model).suffix == ".gguf":
            generate = pipeline("text-generation", device="cpu", **_gguf_parts(Path(model)))
        else:
            generate = pipeline("text-generation", model=model, device="cpu", dtype=torch.float32)
        laps.lap("load")
        (found,) = generate(text, max_new_tokens=new_tokens, do_sample=False, return_tensors=True)
        laps.lap("generate")
        prompt = generate.tokenizer(text)["input_ids"]
        tokens = found["generated_token_ids"]
        return {
            "prompt": tokens[: len(prompt)],
            "tokens": tokens[len(prompt) :],
            "phases": laps.seconds,
        }

    def load(self, model: str, threads: int) -> None:
        """Load a model for :meth:`complete`, with no token that ends a text."""
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._model.generation_config.eos_token_id = None

    def complete(self, prompts: list[list[int]], new_tokens: int) -> dict[str, Any]:
        """Continue all prompts together, greedily, padded on the left; return the tokens and the seconds."""
        import torch

        started = time.perf_counter()
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        found = self._model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0
        )
        tokens = found[:, longest:].tolist()
        return {"seconds": time.perf_counter() - started, "tokens": tokens}


def _gguf_parts(file: Path) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return {
        "model": AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32),
        "tokenizer": AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name),
    }


if __name__ == "__main__":
    serve(Theirs())
