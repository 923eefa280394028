"""What inputs have in common, above all worked examples, is read once: in a call, and from call to call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_language_model import one_thread, write_tiny_model

from gptapps import Classification, evaluate, pipeline
from gptapps.decoding.language_model import LanguageModel
from tests.encoded_tokens import counted_tokens

NOUNS = ("harbour", "ticket office", "weather station", "orchard", "printing house", "choir", "chess club", "ferry")
SHOTS: dict[str, list[Mapping[str, str]]] = {
    "sentiment": [
        {"text": f"The {noun} was {word} than anybody had been told beforehand.", "label": label}
        for noun, word, label in zip(NOUNS, ("better", "worse") * 4, ("positive", "negative") * 4, strict=True)
    ],
    "choose": [{"question": f"Who looks after the {noun} at night?", "answer": "The keeper"} for noun in NOUNS],
    "summarize": [
        {
            "text": f"The {noun} closes in May. Its roof leaks, and the town has no money for it.",
            "summary": f"No {noun}.",
        }
        for noun in NOUNS
    ],
    "answer": [
        {"question": "When does it open?", "context": f"The {noun} opens at nine and closes at five.", "answer": "nine"}
        for noun in NOUNS
    ],
}
INPUTS: dict[str, list[Mapping[str, Any]]] = {
    "sentiment": [{"text": f"A {noun} to remember."} for noun in NOUNS],
    "choose": [{"question": f"What is a {noun} for?", "choices": ["Work", "Play", "Nothing at all"]} for noun in NOUNS],
    "summarize": [{"text": f"The {noun} opens again. Everybody is invited."} for noun in NOUNS],
    "answer": [{"question": "Who came?", "context": f"Nobody came to the {noun} but Ada."} for noun in NOUNS],
}
OPTIONS: dict[str, dict[str, Any]] = {"summarize": {"max_new_tokens": 4}, "answer": {"max_new_tokens": 4}}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> LanguageModel:
    """A tiny random model without a chat template."""
    folder = write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer, chat=False)
    return LanguageModel.load(str(folder), device="cpu")


def shot_tokens(model: LanguageModel, task: str) -> int:
    """Return at least how many tokens the worked examples have, without what the prompt puts around them."""
    texts = [text for shot in SHOTS[task] for text in shot.values()]
    return sum(len(model.tokenizer.encode(text)) for text in texts)


def unshared_tokens(outputs: Sequence[Any]) -> int:
    """Return how many tokens would be read if each input were read alone."""
    return sum(output.usage.input_tokens + output.usage.output_tokens for output in outputs)


def said(output: Any) -> str:
    """Return an output's label or text."""
    return str(output.label if isinstance(output, Classification) else output.text)


@pytest.mark.parametrize("task", list(INPUTS))
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_pipeline_reads_worked_examples_once(model: LanguageModel, task: str, batch_size: int) -> None:
    run: Any = pipeline(task, model=model, shots=SHOTS[task], batch_size=batch_size, **OPTIONS.get(task, {}))
    shots, inputs = shot_tokens(model, task), INPUTS[task]
    with counted_tokens() as read:
        together = list(run.stream(inputs))
    empty = 3 * 40 if task == "sentiment" else 0  # texts that say nothing, which calibrate the labels
    assert sum(read) <= unshared_tokens(together) - (len(inputs) - 1) * shots + empty
    assert sum(read) > shots
    with counted_tokens() as read:
        single = [next(run.stream([one])) for one in inputs]  # the calls before have read the examples
    assert sum(read) <= unshared_tokens(single) - len(inputs) * shots
    assert [said(one) for one in single] == [said(one) for one in together]


def test_continuations_of_a_score_share_their_text(model: LanguageModel) -> None:
    context = " ".join(f"The {noun} is open." for noun in NOUNS)
    examples = [
        {"context": context, "text": f" So is the {noun}", "continuations": [" today.", " and full.", " at last."]}
        for noun in NOUNS
    ]
    with counted_tokens() as read:
        list(pipeline("score", model=model).stream(examples))
    own = sum(len(model.tokenizer.encode(one["text"] + "".join(one["continuations"]))) for one in examples)
    assert sum(read) <= len(model.tokenizer.encode(context)) + own + 2 * len(examples)


@pytest.mark.parametrize(
    ("task", "gold"),
    [
        ("sentiment", {"label": "positive"}),
        ("answer", {"answers": ["Ada"]}),
        ("summarize", {"summaries": ["It opens."]}),
    ],
)
def test_an_evaluation_reads_worked_examples_once(
    model: LanguageModel, tmp_path: Path, task: str, gold: Mapping[str, Any]
) -> None:
    rows = tmp_path / "rows.jsonl"
    answers = {"answers": ["Nobody"]} if task == "answer" else gold
    examples = [{"id": str(number), **one, **answers} for number, one in enumerate(INPUTS[task] * 2)]
    for number, one in enumerate(examples):
        if "text" in one:
            one["text"] = f"{one['text']} Number {number}."
        else:
            one["question"] = f"{one['question']} Number {number}."
    rows.write_text("".join(json.dumps(one) + "\n" for one in examples))
    folder = tmp_path / "run"
    with counted_tokens() as read:
        report = evaluate(
            task, rows, shots=8, model=model, batch_size=3, output=folder, baselines=(), **OPTIONS.get(task, {})
        )
    shown = [one.get("text") or one["question"] + one["context"] for one in examples[:8]]
    shots = sum(len(model.tokenizer.encode(text)) for text in shown)
    alone = report.counts["input_tokens"] + report.counts["output_tokens"]
    assert report.counts["examples"] == 8
    assert shots < sum(read) <= alone - 7 * shots + (3 * 40 if task == "sentiment" else 0)


def test_an_evaluation_reads_contexts_that_lie_apart_once(model: LanguageModel, tmp_path: Path) -> None:
    contexts = [f"The {noun} has been closed since the flood. " * 8 for noun in NOUNS[:3]]
    rows = [
        {
            "question": f"What is case {number}?",
            "context": contexts[number % 3],
            "choices": ["work", "play"],
            "answer": "play",
        }
        for number in range(12)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with counted_tokens() as read:
        report = evaluate("choose", data, model=model, shots=0, batch_size=2, output=tmp_path / "run", baselines=())
    each = min(len(model.tokenizer.encode(context)) for context in contexts)
    assert sum(read) < report.counts["input_tokens"] - 9 * each
    lines = [json.loads(line) for line in (tmp_path / "run" / "examples.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
