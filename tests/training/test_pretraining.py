"""Pre-training: what is learned, what the folder holds, and that a killed run comes to the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_texts import TINY, write_counting, write_text
from transformers import AutoModelForCausalLM, AutoTokenizer

from gptapps import pipeline, pretrain
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.masked_model import MaskedModel
from gptapps.errors import CapabilityError, DataError, OptionError
from gptapps.training.pretraining.plan import PretrainPlan
from gptapps.training.pretraining.report import PretrainReport
from gptapps.training.pretraining.run import train
from gptapps.training.pretraining.vocabulary import trained_tokenizer

pytestmark = pytest.mark.usefixtures("light")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of a few thousand tokens."""
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def trained(text: Path) -> PretrainReport:
    """A tiny GPT-2 after two epochs."""
    return pretrain(text, output=text.parent / "gpt", epochs=2, prompts=["The baker", ""], **TINY)


def test_perplexity_falls(trained: PretrainReport) -> None:
    values = [row["perplexity"] for row in trained.evaluations]
    assert len(values) == 4
    assert values[-1] < 0.5 * values[0]
    assert trained.perplexity == min(values)
    assert trained.bits_per_byte is not None
    assert trained.bits_per_byte < 2.5


def test_bits_per_byte_and_perplexity_are_those_of_scoring(text: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.txt"
    held.write_text("The baker sells two green lamps.", encoding="utf-8")  # shorter than the context
    report = pretrain(text, output=tmp_path / "gpt", validation=held, updates=3, **TINY)
    scored = pipeline("score", model=tmp_path / "gpt")(held.read_text(encoding="utf-8"))
    assert report.perplexity == pytest.approx(scored.perplexity, rel=1e-4)
    assert report.bits_per_byte == pytest.approx(scored.bits_per_byte, rel=1e-4)


def test_the_folder_says_how_it_went(trained: PretrainReport) -> None:
    samples = sorted((trained.folder / "samples").iterdir())
    assert len(samples) == len(trained.evaluations)
    first, prompted, _ = samples[-1].read_text(encoding="utf-8").split("-" * 40)
    assert "perplexity" in first
    assert prompted.strip().startswith("The baker")
    assert any((trained.folder / "logs").iterdir())
    curves = json.loads((trained.folder / "curves.json").read_text(encoding="utf-8"))
    assert [row["update"] for row in curves["updates"]] == list(range(1, trained.updates + 1))
    card = (trained.folder / "README.md").read_text(encoding="utf-8")
    assert f"{trained.parameters:,} weights" in card
    assert "2 layers, 2 heads, 32 channels, a context of 32 tokens" in card
    assert not trained.folder.with_name("gpt.work").exists()


def test_pipelines_load_the_folder(trained: PretrainReport) -> None:
    generated = pipeline("generate", model=trained.folder)("The baker", max_new_tokens=8)
    assert generated.text.strip()
    score = pipeline("score", model=trained.folder)
    assert score("My aunt sells a red kite.").perplexity < score("kite red My a. sells aunt").perplexity


@pytest.mark.parametrize("size", ["gpt-1", "gpt-2-small", "gpt-3-small"])
def test_transformers_loads_the_folder(size: str, text: Path, tmp_path: Path) -> None:
    pretrain(text, output=tmp_path / "gpt", size=size, updates=2, **TINY)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "gpt").eval()
    ours = LanguageModel.load(str(tmp_path / "gpt"), device="cpu")
    said = "A sailor mends the heavy door."
    ids = AutoTokenizer.from_pretrained(tmp_path / "gpt")(said)["input_ids"]
    assert ids == ours.tokenizer.encode(said)
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits
        torch.testing.assert_close(ours.head(ours.backbone(torch.tensor([ids]))), expected, atol=1e-4, rtol=1e-4)


def test_a_killed_run_comes_to_the_same_weights(text: Path, tmp_path: Path) -> None:
    options = {**TINY, "updates": 8, "checkpoint_every": 3}
    (tmp_path / "options.json").write_text(json.dumps(options), encoding="utf-8")
    script = (
        "import json, os, signal, sys\n"
        "from pathlib import Path\n"
        "from gptapps.training.pretraining.run import PretrainPlan, train\n"
        "text, output, options = sys.argv[1:]\n"
        "def told(what, done, total):\n"
        "    if (what, done) == ('train', 5):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "options = json.loads(Path(options).read_text())\n"
        "train(PretrainPlan(data=(text,), output=Path(output), options=options, progress=told))\n"
    )
    cut = tmp_path / "cut"
    done = subprocess.run(
        [sys.executable, "-c", script, text, cut, tmp_path / "options.json"],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -signal.SIGKILL
    assert not cut.exists()
    assert (tmp_path / "cut.work/training/checkpoints/update-00000003").is_dir()
    resumed = pretrain(text, output=cut, **options)
    whole = pretrain(text, output=tmp_path / "whole", **options)
    assert same_tensors(cut / "model.safetensors", whole.folder / "model.safetensors")
    assert resumed.evaluations == whole.evaluations
    samples = [sorted((one / "samples").iterdir()) for one in (cut, whole.folder)]
    assert [one.read_bytes() for one in samples[0]] == [one.read_bytes() for one in samples[1]]


def test_an_interrupted_run_of_masked_text_comes_to_the_same_weights(text: Path, tmp_path: Path) -> None:
    options = {**TINY, "updates": 5, "checkpoint_every": 2}

    def told(what: str, done: int, total: int) -> None:
        if (what, done) == ("train", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(PretrainPlan(data=(text,), output=tmp_path / "cut", objective="masked", options=options, progress=told))
    resumed = pretrain(text, output=tmp_path / "cut", objective="masked", **options)
    whole = pretrain(text, output=tmp_path / "whole", objective="masked", **options)
    for name in ("model.safetensors", "mask_embedding.safetensors"):
        assert same_tensors(resumed.folder / name, whole.folder / name)


def same_tensors(first: Path, second: Path) -> bool:
    """Return whether two files hold the same numbers, bit by bit."""
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_the_same_call_shows_the_numbers_and_another_is_refused(trained: PretrainReport, text: Path) -> None:
    again = pretrain(text, output=trained.folder, epochs=2, prompts=["The baker", ""], **TINY)
    assert again == trained
    with pytest.raises(OptionError, match=r"differs from this one in options\.epochs"):
        pretrain(text, output=trained.folder, epochs=3, prompts=["The baker", ""], **TINY)


def test_another_tokenizer_in_the_same_place_is_refused(text: Path, tmp_path: Path) -> None:
    options = {**{name: value for name, value in TINY.items() if name != "vocabulary_size"}, "updates": 1}
    trained_tokenizer([text.read_text(encoding="utf-8")], 300).save(tmp_path / "tokenizer")
    pretrain(text, output=tmp_path / "gpt", tokenizer=tmp_path / "tokenizer", **options)
    (tmp_path / "tokenizer").rename(tmp_path / "moved")  # the same one
    pretrain(text, output=tmp_path / "gpt", tokenizer=tmp_path / "moved", **options)
    trained_tokenizer(["Quite another text, which gives other tokens. " * 9, "and zigzag"], 300).save(
        tmp_path / "tokenizer"
    )
    with pytest.raises(OptionError, match="differs from this one in the tokenizer"):
        pretrain(text, output=tmp_path / "gpt", tokenizer=tmp_path / "tokenizer", **options)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> PretrainReport:
    """A tiny GPT-2 of masked text, in which a word follows from its neighbours."""
    folder = tmp_path_factory.mktemp("masked")
    options = {**TINY, "channels": 64, "heads": 4, "context": 16, "tokens_per_update": 256, "evaluations": 1}
    options |= {"learning_rate": 2e-3, "decline": "constant", "epochs": 14}
    return pretrain(write_counting(folder / "text.txt"), output=folder / "gpt", objective="masked", **options)


def test_the_masked_objective_learns(masked: PretrainReport) -> None:
    assert masked.perplexity < 10  # by how often it comes alone, a word has 12
    assert masked.bits_per_byte is None
    assert "can't generate" in masked.table
    shown = sorted((masked.folder / "samples").iterdir())[-1].read_text(encoding="utf-8")
    assert "<mask>" in shown


def test_a_masked_model_sees_both_directions(masked: PretrainReport) -> None:
    model = MaskedModel.load(masked.folder)
    ids = model.tokenizer.encode(" two three four five six seven eight", special_tokens=False)
    hidden = len(ids) // 2
    other, ids[hidden] = ids[0], model.mask_id
    before = model.logits(ids)[hidden]
    for place in (hidden - 1, hidden + 1):
        changed = [*ids[:place], other, *ids[place + 1 :]]
        assert not torch.allclose(model.logits(changed)[hidden], before, atol=1e-2)
    filled = model.fill("two three<mask> five six")
    assert filled.startswith("two three")
    assert filled.endswith(" five six")
    assert "<mask>" not in filled
    with pytest.raises(DataError, match="no <mask> in the text"):
        model.fill("two three")
    with pytest.raises(OptionError, match="There is no device 'abacus'"):
        MaskedModel.load(masked.folder, device="abacus")


def test_a_masked_model_is_refused_by_pipelines(masked: PretrainReport) -> None:
    with pytest.raises(CapabilityError, match=r"was pre-trained on masked text .* pre-train with the objective"):
        pipeline("generate", model=masked.folder)


@pytest.mark.data
def test_perplexity_falls_on_wikitext(data_root: Path, tmp_path: Path) -> None:
    report = pretrain(
        data_root / "lm" / "wikitext2" / "validation.jsonl",
        output=tmp_path / "gpt",
        limit=8,
        validation_tokens=2048,
        updates=60,
        **{**TINY, "vocabulary_size": 1000, "evaluations": 8},
    )
    assert report.tokens["train"] > 40_000
    assert [row["update"] for row in report.evaluations] == [8, 15, 23, 30, 38, 45, 53, 60]
    assert report.perplexity < 250  # a model that has learned nothing has 1000
    assert report.perplexity < 0.7 * report.evaluations[0]["perplexity"]


@pytest.mark.data
def test_the_tokenizer_of_gpt_2(data_root: Path, text: Path, tmp_path: Path) -> None:
    options = {name: value for name, value in TINY.items() if name != "vocabulary_size"}
    tokenizer = data_root / "tokenizers" / "gpt2"
    report = pretrain(text, output=tmp_path / "gpt", tokenizer=tokenizer, **{**options, "updates": 1})
    assert AutoTokenizer.from_pretrained(tmp_path / "gpt")("Hello world")["input_ids"] == [15496, 995]
    assert report.parameters > 50257 * 32
