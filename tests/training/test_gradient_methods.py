"""The methods that learn by gradients, on a task that a tiny model can learn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import peft
import pytest
import torch
from data_files import write_rows
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_sample_weight
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_training import colours, job
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, PretrainedConfig

from gptapps import evaluate, kernels, pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.trained_adapters import with_low_rank, with_virtual_tokens
from gptapps.errors import OptionError
from gptapps.heads.language_model import LanguageModelHead
from gptapps.pipelines.base import Setup
from gptapps.pipelines.classification import ClassificationPipeline
from gptapps.task_catalog import resolve_task
from gptapps.trained_model import TrainedModel
from gptapps.training.data import gold_labels
from gptapps.training.finetune import finetune
from gptapps.training.gradient_methods import FittedByGradients, FullMethod, LoraMethod, PromptMethod
from gptapps.training.lessons import Lesson, LessonMaker
from gptapps.training.lora import LowRankLinear
from gptapps.training.loss import TargetLoss
from gptapps.training.packing import pack

pytestmark = pytest.mark.usefixtures("light")

SAME = {"atol": 1e-4, "rtol": 1e-4}  # logits of hundreds of products, from weights that lie elsewhere in memory
FAST: dict[str, Any] = {"epochs": 6, "examples_per_update": 6, "validation_limit": 12, "patience": 6, "dropout": 0.0}
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lora": (LoraMethod(), FAST | {"learning_rate": 2e-2}),
    "full": (FullMethod(), FAST | {"learning_rate": 1e-2}),
    "prompt": (PromptMethod(), FAST | {"learning_rate": 1e-1}),
}


@pytest.fixture(scope="module")
def fitted(tiny_base: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], FittedByGradients]:
    """Return what a method learned, each learned once."""
    made: dict[str, FittedByGradients] = {}

    def fit(name: str) -> FittedByGradients:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            method, options = METHODS[name]
            made[name] = method.fit(job(colours(folder), tiny_base, folder, **options))
        return made[name]

    return fit


def logits(model: LanguageModel) -> torch.Tensor:
    ids = torch.tensor([[*model.opening, 5, 17, 300, 42]])
    with torch.no_grad():
        out: torch.Tensor = model.head(model.backbone(ids)[:, -4:])
    return out


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_falls_and_the_base_stays(
    name: str, fitted: Callable[[str], FittedByGradients], tiny_base: LanguageModel
) -> None:
    before = {key: tensor.clone() for key, tensor in tiny_base.backbone.state_dict().items()}
    losses = [row["loss"] for row in fitted(name).learned.updates]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert {row["epoch"] for row in fitted(name).learned.evaluations} == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
    assert set(fitted(name).learned.evaluations[0]) == {"update", "epoch", "loss", "accuracy", "macro_f1"}
    for key, tensor in tiny_base.backbone.state_dict().items():
        assert torch.equal(tensor, before[key])
    assert not any(isinstance(module, LowRankLinear) for module in tiny_base.backbone.modules())


@pytest.mark.parametrize("name", METHODS)
def test_the_model_that_is_kept_is_the_one_that_was_best(
    name: str, fitted: Callable[[str], FittedByGradients], tmp_path: Path
) -> None:
    one, data = fitted(name), colours(tmp_path)
    classify = ClassificationPipeline(one.definition, one.model, Setup(options={"labels": list(data.labels)}))
    right = [classify(item.example).label == item.example.label for item in data.validation]
    assert one.learned.best is not None
    assert one.learned.best["accuracy"] == sum(right) / len(right) == pytest.approx(1.0, abs=0.5)
    assert one.learned.best["accuracy"] == max(row["accuracy"] for row in one.learned.evaluations)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("name", [*METHODS, "merged"])
def test_what_was_trained_loads_in_transformers(name: str, tiny_base: LanguageModel, tmp_path: Path) -> None:
    kind = "lora" if name == "merged" else name
    call = {**METHODS[kind][1], "epochs": 2, **({"merge": True} if name == "merged" else {})}
    data = write_rows(tmp_path / "rows.jsonl", [{"text": f"{n} sun", "label": "wc"[n % 2]} for n in range(12)])
    finetune("classify", data, output=tmp_path / "out", method=kind, model=tiny_base.name, **call)
    if name in ("lora", "prompt"):
        theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base.name), tmp_path / "out")
    else:
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor([[5, 17, 300, 42]])).logits[:, -4:]
    ours = logits(LanguageModel.load(str(tmp_path / "out")))
    assert (ours - logits(tiny_base)).abs().max() > 1e-2
    torch.testing.assert_close(ours, expected, **SAME)


FUSED: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "gpt_neox": GPTNeoXConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=256,
    ),
}
"""Families whose queries, keys and values are one matrix; the second has a vocabulary head of its own."""


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("family", "method"), [("gpt2", "lora"), ("gpt_neox", "lora"), ("gpt_neox", "prompt"), ("gpt_neox", "full")]
)
def test_other_families_learn_and_load_in_transformers(
    family: str, method: str, tiny_base: LanguageModel, tmp_path: Path
) -> None:
    config = copy.deepcopy(FUSED[family])
    config.update({"vocab_size": tiny_base.tokenizer.vocabulary_size, "initializer_range": 0.4})
    config.update({"bos_token_id": 0, "eos_token_id": 0})
    folder = tmp_path / "base"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_base.tokenizer.save(folder)
    base = LanguageModel.load(str(folder))
    before = {name: tensor.clone() for part in (base.backbone, base.head) for name, tensor in part.state_dict().items()}
    data = write_rows(tmp_path / "rows.jsonl", [{"text": f"{n} sun", "label": "wc"[n % 2]} for n in range(12)])
    call = METHODS[method][1] | {"epochs": 2}
    finetune("classify", data, output=tmp_path / "out", method=method, model=base, **call)
    for part in (base.backbone, base.head):
        for name, tensor in part.state_dict().items():
            assert torch.equal(tensor, before[name])
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out" if method == "full" else folder)
    if method != "full":
        theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "out")
    if method == "lora":
        assert {"c_attn", "query_key_value"} & set(theirs.peft_config["default"].target_modules)
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor([[5, 17, 300, 42]])).logits[:, -4:]
    ours = logits(LanguageModel.load(str(tmp_path / "out")))
    assert (ours - logits(base)).abs().max() > 1e-2
    torch.testing.assert_close(ours, expected, **SAME)


def test_tensorboard_shows_what_the_curves_hold(tiny_base: LanguageModel, tmp_path: Path) -> None:
    one = LoraMethod().fit(job(colours(tmp_path, 16), tiny_base, tmp_path, epochs=2, examples_per_update=6))
    events = EventAccumulator(str(next(tmp_path.rglob("events.*")).parent)).Reload()
    for tag, rows, value in (
        ("train/loss", one.learned.updates, "loss"),
        ("validation/accuracy", one.learned.evaluations, "accuracy"),
    ):
        shown = [(point.step, point.value) for point in events.Scalars(tag)]
        assert shown == [(row["update"], pytest.approx(row[value], rel=1e-5)) for row in rows]


@pytest.mark.parametrize("name", METHODS)
def test_what_is_written_predicts_the_same(
    name: str, fitted: Callable[[str], FittedByGradients], tiny_base: LanguageModel, tmp_path: Path
) -> None:
    one = fitted(name)
    predicting = one.write(tmp_path)
    assert set(predicting) <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "curves.json").exists()
    trained = TrainedModel(tmp_path, name, None, one.definition)
    match name:
        case "lora":
            loaded = with_low_rank(tiny_base, trained)
        case "prompt":
            loaded = with_virtual_tokens(tiny_base, trained)
        case _:
            loaded = LanguageModel.load(str(tmp_path))
    assert (logits(one.model) - logits(tiny_base)).abs().max() > 1e-2
    torch.testing.assert_close(logits(loaded), logits(one.model), **SAME)


def test_a_merged_lora_is_a_whole_model(
    fitted: Callable[[str], FittedByGradients], tiny_base: LanguageModel, tmp_path: Path
) -> None:
    whole = replace(fitted("lora"), whole=True)
    whole.write(tmp_path)
    torch.testing.assert_close(logits(LanguageModel.load(str(tmp_path))), logits(whole.model), **SAME)
    assert "adapter_config.json" not in {path.name for path in tmp_path.iterdir()}


def test_only_what_is_named_is_adapted(tiny_base: LanguageModel, tmp_path: Path) -> None:
    quick = {"epochs": 1, "targets": ["q_proj", "v_proj"], "rank": 2}
    one = LoraMethod().fit(job(colours(tmp_path, 16), tiny_base, tmp_path, **quick))
    (tmp_path / "written").mkdir()
    one.write(tmp_path / "written")
    names = load_file(tmp_path / "written" / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in names} == {"q_proj", "v_proj"}
    assert len(names) == 2 * 2 * tiny_base.backbone.config.layers
    with pytest.raises(OptionError, match="Did you mean 'q_proj'"):
        LoraMethod().fit(job(colours(tmp_path, 16), tiny_base, tmp_path, targets=["q_projj"]))


def test_the_same_training_gives_the_same_weights(tiny_base: LanguageModel, tmp_path: Path) -> None:
    written = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        one = LoraMethod().fit(job(colours(folder, 16), tiny_base, folder, epochs=1, dropout=0.3))
        (folder / "written").mkdir()
        one.write(folder / "written")
        written.append((folder / "written" / "adapter_model.safetensors").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("name", ["full", "prompt"])
def test_dropout_leaves_out_a_share_while_learning_and_nothing_afterwards(
    name: str, tiny_base: LanguageModel, tmp_path: Path
) -> None:
    method, options = METHODS[name]
    losses = {}
    for share in (0.0, 0.3, 0.3):
        folder = tmp_path / f"{share}-{len(losses)}"
        folder.mkdir()
        call = {**options, "epochs": 1, "dropout": share}
        one = method.fit(job(colours(folder, 16), tiny_base, folder, **call))
        losses.setdefault(share, []).append([row["loss"] for row in one.learned.updates])
        assert torch.equal(logits(one.model), logits(one.model))
        (folder / "written").mkdir()
        one.write(folder / "written")
    assert losses[0.3][0] == losses[0.3][1]  # drawn anew for each update, the same in every run
    assert losses[0.0][0][0] != losses[0.3][0][0]


FLOATS = ("boat", "cork")
ANSWER = {"question": "Who wrote it?", "context": "Ada wrote it in spring.", "answers": ["Ada"]}
CHOICE = {"question": "Which planet is red?", "choices": ["Venus", "Mars"], "answer": "Mars"}
SUMMARY = {"text": "It rained all day, and the lake rose by a hand.", "summaries": ["The lake rose."]}
TRANSLATION = {"text": "Good morning.", "source": "en", "target": "fr", "translations": ["Bonjour."]}
INSTRUCTION = {"text": "Name what floats on water.", "completions": ["Cork floats.", "Wood does."]}
TEXT = {"context": "Once upon a time", "text": " there was a mill."}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("answer", ANSWER),
        ("choose", CHOICE),
        ("score", TEXT),
        ("summarize", SUMMARY),
        ("translate", TRANSLATION),
        ("generate", INSTRUCTION),
    ],
)
def test_every_family_learns_and_serves(
    method: str, task: str, row: dict[str, Any], tiny_base: LanguageModel, tmp_path: Path
) -> None:
    field = "context" if "context" in row else "question" if "question" in row else "text"
    data = write_rows(tmp_path / "rows.jsonl", [{**row, field: f"{row[field]} {number}"} for number in range(6)])
    options: dict[str, Any] = {"prompt": {"virtual_tokens": 3}, "lora": {"rank": 2}, "full": {}}[method]
    if task in ("summarize", "translate", "generate"):
        options["max_new_tokens"] = 12
    output = tmp_path / "learned"
    report = finetune(
        task, data, output=output, method=method, model=tiny_base.name, epochs=1, validation=0.34, **options
    )
    assert report.details["updates"] == 1
    decides = resolve_task(task).metrics[0]
    assert report.details["best"][decides] == pytest.approx(report.score(decides).value)
    if task == "score":  # what learned plain text continues it, too
        assert pipeline("generate", model=output, max_new_tokens=3)("Once upon a time").usage.output_tokens > 0
    serve = pipeline(task, model=output)
    gold = ("answers", "answer", "summaries", "translations", "completions")
    assert serve({name: value for name, value in row.items() if name not in gold}).usage.input_tokens > 0


def test_a_model_learns_to_follow_an_instruction(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    rows = [{"text": f"{n}. Say which {what}.", "completions": [f"The {what}."]} for n in range(12) for what in FLOATS]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    call: dict[str, Any] = {"method": "lora", "model": tiny_chat, "validation": 0.2, "epochs": 8, "learning_rate": 2e-2}
    report = finetune("generate", data, output=tmp_path / "learned", examples_per_update=8, max_new_tokens=12, **call)
    assert report.score("rougeL").value > 0.9
    generate = pipeline("generate", model=tmp_path / "learned")
    assert generate("99. Say which boat.").finish_reason == "end"
    scores = evaluate("generate", data, model=tmp_path / "learned", output=tmp_path / "run")
    assert scores.score("rougeL").value > 0.9


def test_half_precision_learns_too(tiny_base: LanguageModel, tmp_path: Path) -> None:
    one = LoraMethod().fit(
        job(colours(tmp_path, 16), tiny_base, tmp_path, epochs=3, precision="bf16", learning_rate=2e-2)
    )
    losses = [row["loss"] for row in one.learned.updates]
    assert losses[-1] < losses[0]


def test_rare_labels_can_count_more(tiny_base: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Sequence[float]] = []
    lessons = LessonMaker.lessons

    def watched(self: LessonMaker, items: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
        counted.extend([] if weights is None else [weights])
        return lessons(self, items, weights)

    monkeypatch.setattr(LessonMaker, "lessons", watched)
    data = colours(tmp_path, 16)
    rare = replace(data, train=tuple(item for number, item in enumerate(data.train) if number % 4 != 1))
    one, other = (
        LoraMethod().fit(job(rare, tiny_base, tmp_path / kind, epochs=1, class_weights=kind))
        for kind in ("none", "balanced")
    )
    assert one.learned.updates[0]["loss"] != other.learned.updates[0]["loss"]
    assert set(counted[0]) == {1.0}
    assert counted[1] == pytest.approx(compute_sample_weight("balanced", gold_labels(rare, rare.train)).tolist())


def test_label_smoothing_counts_while_learning_only(tiny_base: LanguageModel) -> None:
    assert isinstance(tiny_base.head, LanguageModelHead)
    lessons = pack([Lesson((5, 17), (300, 42))])
    plain, smooth = (TargetLoss(tiny_base.backbone, tiny_base.head, label_smoothing=share) for share in (0.0, 0.2))
    with torch.no_grad():
        states = tiny_base.backbone(torch.tensor([[5, 17, 300]]))[0, 1:]
        expected = torch.nn.functional.cross_entropy(
            tiny_base.head(states), torch.tensor([300, 42]), reduction="sum", label_smoothing=0.2
        )
        assert float(smooth.train()(lessons)) == pytest.approx(float(expected), rel=1e-5)
        assert float(smooth.eval()(lessons)) == pytest.approx(float(plain.eval()(lessons)), rel=1e-6)


def test_the_vocabulary_is_met_at_targets_only(tiny_base: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(tiny_base.head, LanguageModelHead)
    met = []
    whole = kernels.linear_cross_entropy

    def watched(states: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        met.append(len(states))
        return whole(states, *others, **options)

    monkeypatch.setattr(kernels, "linear_cross_entropy", watched)
    TargetLoss(tiny_base.backbone, tiny_base.head)(pack([Lesson((5, 17, 300, 42), (7, 8)), Lesson((9,), (3,))]))
    assert met == [3]


def test_the_card_shows_how_it_learned(tiny_base: LanguageModel, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": f"{n} sun", "label": "wc"[n % 2]} for n in range(12)])
    call: dict[str, Any] = {"method": "lora", "model": tiny_base.name, "rank": 2, "epochs": 2}
    report = finetune("classify", data, output=tmp_path / "judged", validation=0.34, **call)
    card = (tmp_path / "judged" / "README.md").read_text(encoding="utf-8")
    assert "which weights to keep, so that the numbers are rather too good" in card
    assert "![Loss and metric by update](curves.svg)" in card
    (kept,) = [line for line in card.splitlines() if line.startswith("| **")]
    assert kept.startswith(f"| **{report.details['best']['update']:.0f}** |")
    words = {one.text for one in ElementTree.parse(tmp_path / "judged" / "curves.svg").iter() if one.text}
    assert {"training", "validation", "loss", "accuracy", "update"} <= words
    finetune("classify", data, output=tmp_path / "unjudged", validation=None, **call)
    card = (tmp_path / "unjudged" / "README.md").read_text(encoding="utf-8")
    assert "![Loss and metric by update](curves.svg)" in card
    assert "rather too good" not in card
    words = {one.text for one in ElementTree.parse(tmp_path / "unjudged" / "curves.svg").iter() if one.text}
    assert "accuracy" not in words
