"""transformers' and peft's side of learning a LoRA: ``python -m benchmarks.speed.fine_tuning_theirs``."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.speed.fine_tuning import Updates, learned
from benchmarks.speed.serving import serve


class Theirs:
    """The jobs; each method imports what it needs."""

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
        import peft
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        config = peft.LoraConfig(
            r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        adapted = peft.get_peft_model(base, config).train()
        trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)
        losses, moments = [], []
        for update in updates:
            loss = adapted(**_padded(update)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            moments.append(time.perf_counter())
        return learned(losses, moments, updates)


def _padded(update: list[dict[str, list[int]]]) -> dict[str, Any]:
    import torch

    longest = max(len(one["prompt"]) + len(one["target"]) for one in update)
    ids, labels, mask = [], [], []
    for one in update:
        padding = longest - len(one["prompt"]) - len(one["target"])
        ids.append([*one["prompt"], *one["target"], *[0] * padding])
        labels.append([*[-100] * len(one["prompt"]), *one["target"], *[-100] * padding])
        mask.append([1] * (longest - padding) + [0] * padding)
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
        "use_cache": False,
    }


if __name__ == "__main__":
    serve(Theirs())
