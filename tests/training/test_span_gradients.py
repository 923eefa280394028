"""A LoRA and a head that finds answers, learned together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from data_files import write_rows
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from toy_training import job

from gptapps import evaluate, finetune, pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.model_identity import model_identity
from gptapps.errors import DataError, OptionError
from gptapps.examples import QuestionExample
from gptapps.training.data import DataPlan, read_training_data
from gptapps.training.gradient_methods import LoraMethod
from gptapps.training.span_gradients import SpanLesson, SpanLoss, pack_spans
from gptapps.training.span_lessons import answer_place

pytestmark = pytest.mark.usefixtures("light")

NAMES = ("Ada", "Bruno", "Clara", "Dario", "Elif", "Fatou", "Goran", "Hanna")
QUICK: dict[str, Any] = {
    "method": "lora",
    "with_head": True,
    "rank": 4,
    "epochs": 6,
    "examples_per_update": 8,
    "learning_rate": 1e-2,
}

LONGER = QUICK | {"epochs": 20, "patience": 20, "learning_rate": 2e-2, "rank": 8, "dropout": 0.0}


def questions(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows whose question decides which of two names is the answer."""
    rows = []
    for number in range(first, first + count):
        writer, reader = NAMES[number % 8], NAMES[(number + 3) % 8]
        context = f"On day {number} the letter was written by {writer} and it was read by {reader} before noon."
        asked = ("wrote", "read")[number // 8 % 2]
        answer = writer if asked == "wrote" else reader
        rows.append({"question": f"Who {asked} it?", "context": context, "answers": [answer]})
    return rows


@pytest.mark.parametrize(
    ("context", "answers", "found"),
    [
        ("In 2001, on day 1.", ("1",), "In 2001, on day |1|."),
        ("The theme of the hearing.", ("he",), "T|he| theme of the hearing."),
        ("Of art and artists.", ("artist", "art"), "Of art and |artist|s."),
        ("他在北京大学读书，北京很大。", ("北京",), "他在|北京|大学读书，北京很大。"),
        ("It rained.", ("snow", " rained "), "It |rained|."),
        ("It rained.", ("snow", ""), None),
    ],
)
def test_where_an_answer_stands(context: str, answers: tuple[str, ...], found: str | None) -> None:
    place = answer_place(QuestionExample(question="?", context=context, answers=answers))
    marked = None if place is None else "|".join((context[: place[0]], context[slice(*place)], context[place[1] :]))
    assert marked == found


@st.composite
def span_lessons(draw: st.DrawFn) -> SpanLesson:
    """A question and a context of at least a token each."""
    ids = tuple(draw(st.lists(st.integers(0, 999), min_size=2, max_size=12)))
    first = draw(st.integers(1, len(ids) - 1))
    target = sorted(draw(st.tuples(*[st.integers(0, len(ids) - first - 1)] * 2)))
    return SpanLesson(ids, first, (target[0], target[1]), draw(st.sampled_from([1.0, 0.5])))


def span_loss(model: LanguageModel, layer: int) -> SpanLoss:
    """Return a loss whose head has weights."""
    loss = SpanLoss(model.backbone, layer).eval()
    generator = torch.Generator().manual_seed(0)
    loss.weight.data = torch.randn(loss.weight.shape, generator=generator)
    loss.deviation.copy_(torch.rand(loss.deviation.shape, generator=generator) + 0.5)
    return loss


@given(lessons=st.lists(span_lessons(), min_size=1, max_size=5), layer=st.integers(1, 2))
def test_packed_is_the_served_head_read_alone(lessons: list[SpanLesson], layer: int, tiny_base: LanguageModel) -> None:
    loss = span_loss(tiny_base, layer)
    expected = 0.0
    with torch.no_grad():
        for lesson in lessons:
            ((_, states),) = tiny_base.backbone.layer_states(torch.tensor([lesson.ids]), [layer])
            places, question = states[0, lesson.first :], states[0, 1 if lesson.first > 1 else 0 : lesson.first].mean(0)
            scores = loss.head().scores(torch.cat([places, places * question], 1))  # (P, 2)
            chosen = scores.log_softmax(0)[list(lesson.target), [0, 1]]
            expected -= lesson.weight * float(chosen.sum())
        assert float(loss(pack_spans(lessons))) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_it_learns_what_a_frozen_model_does_not_say(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", questions(96))
    frozen = finetune("answer", rows, model=tiny_chat, output=tmp_path / "head", validation=0.25)
    report = finetune("answer", rows, model=tiny_chat, output=tmp_path / "model", validation=0.25, **LONGER)
    assert report.score("exact_match").value >= max(0.85, frozen.score("exact_match").value + 0.2)
    assert report.details["best"]["exact_match"] == pytest.approx(report.score("exact_match").value)
    assert report.details["layers"] == [2]  # of two
    assert (report.details["examples"], report.details["without_answer_in_context"]) == (72, 0)
    context = questions(1)[0]["context"]
    output = pipeline("answer", model=tmp_path / "model")(question="Who read it?", context=context)
    assert output.text == context[output.start : output.end] == "Dario"
    other = write_rows(tmp_path / "test.jsonl", questions(16, first=64))
    run = evaluate("answer", other, model=tmp_path / "model", output=tmp_path / "run", baselines=())
    assert run.score("exact_match").value >= 0.8


def test_nothing_above_the_head_is_adapted(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", questions(8))
    quick = QUICK | {"epochs": 1, "head_layer": 1, "validation": None}
    finetune("answer", rows, model=tiny_chat, output=tmp_path / "model", **quick)
    names = load_file(tmp_path / "model" / "adapter_model.safetensors")
    assert {name.split("layers.")[1].split(".")[0] for name in names} == {"0"}
    assert load_file(tmp_path / "model" / "head.safetensors")["weight"].abs().max() > 0
    mark = json.loads((tmp_path / "model" / "gptapps.json").read_text())
    assert set(mark["files"]) == {"task.toml", "adapter_config.json", "adapter_model.safetensors", "head.safetensors"}
    assert mark["settings"]["head"]["layers"] == [1]


def test_a_merged_model_keeps_its_head(tiny_base: LanguageModel, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", questions(16))
    call = QUICK | {"epochs": 1, "validation": None, "model": tiny_base.name}
    for name, merge in (("adapter", False), ("whole", True)):
        finetune("answer", rows, output=tmp_path / name, merge=merge, **call)
    assert (tmp_path / "whole" / "config.json").exists()
    example = questions(1, first=40)[0]
    adapter, whole = (
        pipeline("answer", model=tmp_path / name)(question=example["question"], context=example["context"])
        for name in ("adapter", "whole")
    )
    assert (adapter.start, adapter.end) == (whole.start, whole.end)
    assert adapter.score == pytest.approx(whole.score, rel=1e-4)


def test_it_writes_no_text(tiny_base: LanguageModel, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", questions(8))
    call = QUICK | {"epochs": 1, "validation": None, "merge": True, "model": tiny_base.name}
    finetune("answer", rows, output=tmp_path / "reader", **call)
    for task in ("generate", "score"):
        with pytest.raises(OptionError, match="was trained for the task 'answer'"):
            pipeline(task, model=tmp_path / "reader")
    assert "it writes nothing" in (tmp_path / "reader" / "README.md").read_text()
    # A model that is trained on it has no head for what it doesn't do.
    again = call | {"with_head": False, "model": tmp_path / "reader", "merge": False}
    finetune("answer", rows, output=tmp_path / "writer", max_new_tokens=4, **again)
    assert not (tmp_path / "writer" / "head.safetensors").exists()
    reader = LanguageModel.load(str(tmp_path / "reader"))
    assert model_identity(reader) != model_identity(replace(reader, task_head=None))
    assert pipeline("answer", model=tmp_path / "writer")(question="Who?", context="Ada.").usage.output_tokens > 0


def test_long_contexts_are_served_in_the_windows_they_were_learned_in(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    padding = "It rained again that day, as on all the days before. " * 20
    rows = [{**row, "context": padding + row["context"]} for row in questions(8)]
    data = write_rows(tmp_path / "train.jsonl", rows)
    call = QUICK | {"epochs": 1, "validation": 0.25, "model": tiny_chat}
    report = finetune("answer", data, output=tmp_path / "model", max_length=128, **call)
    assert report.details["examples"] == 6
    output = pipeline("answer", model=tmp_path / "model")(question="Who read it?", context=rows[0]["context"])
    assert output.usage.chunks > 1
    assert output.usage.input_tokens <= 128 * output.usage.chunks
    assert pipeline("answer", model=tmp_path / "model")(question="Who?", context="Ada.").usage.chunks == 1
    endless = [{**row, "answers": [row["context"]]} for row in rows]
    plan = DataPlan(task="answer", train=write_rows(tmp_path / "endless.jsonl", endless), validation=None)
    with pytest.raises(DataError, match=r"endless\.jsonl:\d+: no part of the context that fits 128 tokens"):
        LoraMethod().fit(job(read_training_data(plan), tiny_chat, tmp_path, with_head=True, max_length=128))


def test_features_are_scaled_by_their_deviation(tiny_base: LanguageModel) -> None:
    draw = torch.Generator().manual_seed(0)
    lessons = [
        SpanLesson(tuple(torch.randint(1000, (count,), generator=draw).tolist()), 2, (0, 0)) for count in (5, 9, 30)
    ]
    together, apart = SpanLoss(tiny_base.backbone, 1), SpanLoss(tiny_base.backbone, 1)
    together.set_scale([pack_spans(lessons)])
    apart.set_scale(pack_spans([lesson]) for lesson in lessons)
    torch.testing.assert_close(apart.deviation, together.deviation, rtol=1e-4, atol=0)
    with torch.no_grad():
        rows = []
        for lesson in lessons:
            ((_, states),) = tiny_base.backbone.layer_states(torch.tensor([lesson.ids]), [1])
            rows.append(torch.cat([states[0, 2:], states[0, 2:] * states[0, 1]], 1))
    torch.testing.assert_close(together.deviation, torch.cat(rows).std(0, correction=0), rtol=1e-3, atol=0)


def test_half_precision_and_smoothing(tiny_base: LanguageModel, tmp_path: Path) -> None:
    data = read_training_data(
        DataPlan(task="answer", train=write_rows(tmp_path / "train.jsonl", questions(16)), validation=None)
    )
    first = {}
    for name, options in (("plain", {}), ("bf16", {"precision": "bf16"}), ("smooth", {"label_smoothing": 0.2})):
        quick: dict[str, Any] = {"with_head": True, "epochs": 4, "learning_rate": 1e-2, "dropout": 0.0}
        one = LoraMethod().fit(job(data, tiny_base, tmp_path / name, **quick, **options))
        losses = [row["loss"] for row in one.learned.updates]
        assert losses[-1] < losses[0]
        first[name] = losses
    assert first["bf16"][0] == pytest.approx(first["plain"][0], rel=1e-2)  # a head without weights is as unsure in both
    assert first["smooth"][-1] > first["plain"][-1]


def test_a_killed_training_goes_on_to_the_same_weights(tiny_base: LanguageModel, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", questions(32))
    data = read_training_data(DataPlan(task="answer", train=rows, validation=0.25))
    options: dict[str, Any] = {name: value for name, value in QUICK.items() if name != "method"}
    options |= {"checkpoint_every": 1, "epochs": 2, "dropout": 0.1}

    class Killed(Exception):
        """Stands for a kill."""

    def kill(what: str, done: int, total: int) -> None:
        if done == 4:
            raise Killed

    def learned(name: str, *, killed: bool) -> bytes:
        whole = job(data, tiny_base, tmp_path / name, **options)
        if killed:
            with pytest.raises(Killed):
                LoraMethod().fit(replace(whole, progress=kill))
        (tmp_path / name / "written").mkdir(parents=True)
        LoraMethod().fit(whole).write(tmp_path / name / "written")
        files = ("adapter_model.safetensors", "head.safetensors")
        return b"".join((tmp_path / name / "written" / file).read_bytes() for file in files)

    assert learned("whole", killed=False) == learned("killed", killed=True)


def test_what_makes_no_sense_is_refused(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", questions(8))
    lora: dict[str, Any] = {"method": "lora", "model": tiny_chat, "output": tmp_path / "model"}
    with pytest.raises(OptionError, match="with_head learns to find answers in a context"):
        finetune("classify", rows, **lora, with_head=True)
    with pytest.raises(OptionError, match="head_layer is about the head that with_head learns"):
        finetune("answer", rows, **lora, head_layer=1)
    with pytest.raises(OptionError, match="There is no layer 9"):
        finetune("answer", rows, **lora, with_head=True, head_layer=9)
    with pytest.raises(OptionError, match="belongs to method='lora', and this is 'full'"):
        finetune("answer", rows, **lora | {"method": "full"}, with_head=True)
    strange = [{**row, "answers": ["Zoltan"]} for row in questions(8)]
    with pytest.raises(DataError, match="no answer stands in its context"):
        finetune("answer", write_rows(tmp_path / "strange.jsonl", strange), **lora, with_head=True)
