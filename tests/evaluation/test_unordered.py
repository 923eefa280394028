"""Outputs are on the disk as they are done, and a plug-in that knows of order alone is evaluated as it says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptapps import evaluate
from gptapps.decoding.language_model import LanguageModel
from gptapps.evaluation.plan import Plan
from gptapps.evaluation.run import Run
from gptapps.outputs import Generation
from gptapps.pipelines.generation import GenerationPipeline
from gptapps.pipelines.writing import Draft
from gptapps.registry import PIPELINES
from gptapps.task_catalog import resolve_task


def written(folder: Path) -> list[int]:
    """Return the rows whose lines a run has on the disk, in the order of the lines."""
    return [json.loads(line)["index"] for line in (folder / "examples.jsonl").read_text("utf-8").splitlines()]


def test_a_short_text_is_on_the_disk_before_a_long_one_that_came_first(
    tiny_chat: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted = GenerationPipeline._draft

    def first_is_long(self: GenerationPipeline, example: Any, options: Mapping[str, Any]) -> Draft:
        one = drafted(self, example, options)
        new = 24 if example.text == "a" else 1
        return replace(one, requests=tuple(replace(request, max_new_tokens=new) for request in one.requests))

    monkeypatch.setattr(GenerationPipeline, "_draft", first_is_long)
    rows = Path("rows.jsonl")
    rows.write_text("".join(json.dumps({"text": text, "completions": ["x"]}) + "\n" for text in "abcde"), "utf-8")
    options = {"model": tiny_chat, "batch_size": 2}
    done = []
    with Run(Plan(task="generate", data=rows, output=Path("run"), options=options)) as run:
        for finished in run.remaining():
            done.append(finished.index)
            assert written(Path("run")) == done
    assert done == [1, 2, 3, 4, 0]


def shout(outputs: Iterable[Generation]) -> Iterator[Generation]:
    return (output.model_copy(update={"text": "HELLO"}) for output in outputs)


class Shouts(GenerationPipeline):
    def predict(self, examples: Iterable[Any], options: Mapping[str, Any]) -> Iterator[Generation]:
        return shout(super().predict(examples, options))


class ShoutsAtLast(GenerationPipeline):
    def run(self, inputs: Iterable[object], options: Mapping[str, object]) -> Iterator[Generation]:
        return shout(super().run(inputs, options))


@pytest.mark.parametrize("kind", [Shouts, ShoutsAtLast])
def test_outputs_that_a_plug_in_changes_are_the_evaluated_ones(
    kind: type[GenerationPipeline], tiny_chat: LanguageModel
) -> None:
    """Whoever writes over what yields outputs in order need not know that they may come as they are done."""
    definition = Path(resolve_task("generate").origin).read_text("utf-8")
    Path("shout.toml").write_text(definition.replace('pipeline = "generation"', 'pipeline = "shouts"'), "utf-8")
    rows = Path("rows.jsonl")
    rows.write_text("".join(json.dumps({"text": text, "completions": ["HELLO"]}) + "\n" for text in "abc"), "utf-8")
    PIPELINES.register("shouts", kind)
    try:
        report = evaluate("shout.toml", rows, tiny_chat, max_new_tokens=2, metrics=["exact_match"], baselines=())
    finally:
        PIPELINES.unregister("shouts")
    assert report.scores[0].value == 1.0
