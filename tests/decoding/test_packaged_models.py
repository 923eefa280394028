"""Both packaged models write the tokens that transformers writes, alone and in one mixed batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.request import Request
from tests.conftest import ROOT
from tests.equality import assert_same_tokens
from tests.peers import their_model

SUBJECTS = ("a lighthouse", "the tax office", "两只猫", "an old piano", "la gare", "quantum dots", "snow", "a violin")
OPENINGS = ("Say something about", "In the year 1974,", "Question: what is", "今天我们谈谈", "def area(", "Dear")


def prompts(count: int) -> list[str]:
    """Return prompts of very different lengths."""
    made = []
    for place in range(count):
        subject, opening = SUBJECTS[place % len(SUBJECTS)], OPENINGS[place % len(OPENINGS)]
        filler = f" It has to do with {SUBJECTS[(place + 3) % len(SUBJECTS)]}, and number {place}." * (place * 5 % 17)
        made.append(f"{opening} {subject}.{filler}")
    return made


def their_continuations(
    peer: Any, prompts: list[tuple[int, ...]], new: int, end_ids: list[int]
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Yield transformers' greedy tokens for each prompt and the logits before each, in left-padded batches of eight."""
    for first in range(0, len(prompts), 8):
        batch = prompts[first : first + 8]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(tokens)) + list(tokens) for tokens in batch])
        mask = torch.tensor([[0] * (width - len(tokens)) + [1] * len(tokens) for tokens in batch])
        out = peer.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=end_ids,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        logits = torch.stack(out.logits, 1)  # (B, T, V)
        for row, tokens in enumerate(out.sequences[:, width:].tolist()):
            end = next((place + 1 for place, token in enumerate(tokens) if token in end_ids), len(tokens))
            yield tokens[:end], logits[row, :end]


def compare(model: LanguageModel, path: Path, count: int, new: int) -> dict[str, int]:
    """Compare greedy tokens; return how many were compared, and how many comparisons a near tie ended."""
    encoded = sorted((tuple(model.tokenizer.encode(prompt)) for prompt in prompts(count)), key=len)
    requests = [Request(tokens, new) for tokens in encoded]
    mixed = [one for (one,) in Engine(model, batch_size=8).complete(requests)]
    alone = [next(Engine(model, batch_size=1).complete([request]))[0] for request in requests]
    theirs = their_continuations(their_model(path), encoded, new, list(model.tokenizer.eos_ids))
    compared = ties = 0
    for (tokens, logits), *ours in zip(theirs, alone, mixed, strict=True):
        for found in ours:
            same = assert_same_tokens(found.tokens[: len(tokens)], tokens[: len(found.tokens)], logits)
            compared += same
            ties += same < len(tokens)
    return {"tokens_compared": compared, "near_ties": ties}


@pytest.mark.parametrize("name", ["default", "gemma"])
def test_eight_prompts(name: str, request: pytest.FixtureRequest) -> None:
    path, model = request.getfixturevalue(f"{name}_gguf"), request.getfixturevalue(f"{name}_model")
    result = compare(model, path, count=8, new=16)
    assert result["tokens_compared"] >= 0.8 * 2 * 8 * 8  # few texts end early or at a near tie


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "gemma"])
def test_sixty_four_prompts(name: str, request: pytest.FixtureRequest) -> None:
    path, model = request.getfixturevalue(f"{name}_gguf"), request.getfixturevalue(f"{name}_model")
    result = compare(model, path, count=64, new=64)
    record = {"model": model.name, "date": date.today().isoformat(), "prompts": 64, "new_tokens": 64, **result}
    target = ROOT / "benchmarks" / "results" / f"greedy-parity-{model.name}.json"
    target.write_text(json.dumps(record, indent=2) + "\n")
    assert result["tokens_compared"] >= 0.5 * 2 * 64 * 64
