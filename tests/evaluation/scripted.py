"""A pipeline whose labels follow from the text alone, on a model that is never asked, so that runs take no time."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from gptapps.backbone.config import Activation, AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.rotary import RotaryConfig
from gptapps.decoding.language_model import LanguageModel
from gptapps.examples import ClassificationExample
from gptapps.heads.language_model import LanguageModelHead
from gptapps.outputs import Classification, Usage
from gptapps.pipelines.base import Pipeline
from gptapps.pipelines.options import ClassificationOptions

DEFINITION = """
schema_version = 1
pipeline = "scripted"
summary = "Labels texts by their checksums"
fields = ["text"]
labels = ["even", "odd"]
metrics = ["accuracy", "log_loss"]

[prompts.en]
plain = "Text: {{ text }}"
"""


class ScriptedPipeline(Pipeline[ClassificationExample, Classification]):
    """Takes a batch ahead, as real ones do, and notes every text it labels."""

    example_type = ClassificationExample
    options_type = ClassificationOptions
    seconds = 0.0
    labelled: tuple[str, ...] = ()

    def predict(
        self, examples: Iterable[ClassificationExample], options: Mapping[str, Any]
    ) -> Iterator[Classification]:
        """Yield a label and its probability, both read off the text's checksum."""
        waiting = iter(examples)
        while batch := list(islice(waiting, self.setup.batch_size)):
            for example in batch:
                time.sleep(self.seconds)
                ScriptedPipeline.labelled += (example.text,)
                number = int(hashlib.sha256(example.text.encode()).hexdigest(), 16)
                label, other = ("even", "odd") if number % 2 == 0 else ("odd", "even")
                score = 0.5 + (number % 1000) / 2001
                usage = Usage(input_tokens=len(example.text), output_tokens=1)
                yield Classification(label=label, score=score, scores={label: score, other: 1 - score}, usage=usage)


def scripted_model(name: str = "scripted", seed: int = 0) -> LanguageModel:
    """Return a model that is only looked at: 16 words, one layer."""
    torch.manual_seed(seed)
    config = GPTConfig(
        family="llama",
        vocabulary_size=16,
        context_length=16,
        channels=8,
        layers=1,
        attention=AttentionConfig(heads=1, kv_heads=1, head_size=8, scale=1.0),
        feed_forward=FeedForwardConfig(size=8, activation=Activation.SILU, gated=True, bias=False),
        norm=NormConfig(Norm.RMS, 1e-5),
        wiring=Wiring.PRE_NORM,
        windows=(None,),
        rotary=RotaryConfig(base=10000.0, size=8),
    )
    backbone = GPTBackbone(config)
    tokenizer: Any = SimpleNamespace(chat_template=None, eos_ids=(), vocabulary_size=16, checksum="scripted")
    return LanguageModel(name, backbone, LanguageModelHead(backbone), tokenizer)


def write_definition(folder: Path) -> str:
    """Write the scripted task's definition and return its path."""
    path = folder / "scripted.toml"
    path.write_text(DEFINITION, encoding="utf-8")
    return str(path)


def write_rows(folder: Path, count: int, name: str = "rows.jsonl") -> Path:
    """Write rows with texts of different lengths, a word of Chinese among them, and labels."""
    source = random.Random(0)
    path = folder / name
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = f"Row {number}: " + "好 line\u2028 " * source.randrange(20)
            row = {"id": f"row-{number}", "text": text, "label": source.choice(["even", "odd"])}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path
