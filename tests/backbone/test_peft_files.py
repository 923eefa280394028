"""Low-rank adapters against peft: what one writes the other reads, and the model says the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import CASES, ONE_PER_FAMILY, TOKENS, TinyModel, make_theirs, random_tokens
from torch import Tensor

from gptapps.backbone.config import GPTConfig
from gptapps.backbone.low_rank import LowRankAdapter, LowRankUpdate, Slot, low_rank_slots, merge_low_rank
from gptapps.backbone.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_low_rank, write_low_rank
from gptapps.errors import CheckpointError, UnsupportedModelError
from gptapps.heads.loading import load_language_model

TOLERANCE = 1e-4  # the design's, for logits in float32

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

WORDS = {"qkv": ("q_proj", "k_proj", "v_proj", "c_attn", "query_key_value"), "first": ("q_proj", "c_fc")}


def random_adapter(slots: Iterable[Slot], rank: int = 3, scale: float = 0.5) -> LowRankAdapter:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    return LowRankAdapter(
        tuple((slot, LowRankUpdate(draw(rank, slot.inputs), draw(slot.rows, rank), scale)) for slot in slots)
    )


def merged_logits(directory: Path, adapter: Callable[[GPTConfig], LowRankAdapter]) -> Tensor:
    backbone, head = load_language_model(directory)
    merge_low_rank(backbone, adapter(backbone.config))
    logits: Tensor = head(backbone(random_tokens(2, TOKENS)))
    return logits


def theirs_adapted(name: str, **options: object) -> peft.PeftModel:
    torch.manual_seed(0)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", init_lora_weights=False, fan_in_fan_out=name in ("gpt1", "gpt2"), **options
    )
    return peft.get_peft_model(make_theirs(*CASES[name]), config).eval()


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_peft_loads_what_is_written(name: str, tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    model = tiny(name)
    adapter = random_adapter(low_rank_slots(model.backbone.config))
    write_low_rank(adapter, tmp_path, model.backbone.config, base="tiny")
    theirs = peft.PeftModel.from_pretrained(make_theirs(*CASES[name]), tmp_path).eval()
    ours = merged_logits(model.directory, lambda config: read_low_rank(tmp_path, config))
    tokens = random_tokens(2, TOKENS)
    assert (ours - model.our_logits(tokens)).abs().max() > 0.1  # the adapter says something
    torch.testing.assert_close(ours, theirs(input_ids=tokens).logits, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_what_peft_writes_loads_here(name: str, tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    theirs = theirs_adapted(name, r=4, lora_alpha=2, target_modules="all-linear")
    theirs.save_pretrained(tmp_path)
    ours = merged_logits(tiny(name).directory, lambda config: read_low_rank(tmp_path, config))
    tokens = random_tokens(2, TOKENS)
    torch.testing.assert_close(ours, theirs(input_ids=tokens).logits, atol=TOLERANCE, rtol=0)


def test_ranks_and_scales_of_their_own(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    theirs = theirs_adapted(
        "llama",
        r=4,
        target_modules=["q_proj", "v_proj", "up_proj"],  # parts of fused matrices
        rank_pattern={"v_proj": 2},
        alpha_pattern={"layers.1.mlp.up_proj": 3},
        use_rslora=True,
    )
    theirs.save_pretrained(tmp_path / "theirs")
    config = tiny("llama").backbone.config
    adapter = read_low_rank(tmp_path / "theirs", config)
    write_low_rank(adapter, tmp_path / "ours", config)
    expected = theirs(input_ids=random_tokens(2, TOKENS)).logits
    for directory in (tmp_path / "theirs", tmp_path / "ours"):
        ours = merged_logits(tiny("llama").directory, lambda config, where=directory: read_low_rank(where, config))
        torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=0)
    reloaded = peft.PeftModel.from_pretrained(make_theirs(*CASES["llama"]), tmp_path / "ours").eval()
    torch.testing.assert_close(reloaded(input_ids=random_tokens(2, TOKENS)).logits, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("name", "words"), [("gpt2", ("c_attn", "attn.c_proj")), ("llama", ("q_proj", "v_proj"))])
def test_the_layers_that_are_named_are_those_adapted(
    name: str, words: tuple[str, ...], tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    config = tiny(name).backbone.config
    slots = [slot for slot in low_rank_slots(config) if slot.theirs.endswith(words)]
    write_low_rank(random_adapter(slots), tmp_path, config)
    assert json.loads((tmp_path / ADAPTER_CONFIG).read_text())["target_modules"] == sorted(words)


def test_merging_leaves_the_files_alone(tiny: Callable[[str], TinyModel]) -> None:
    directory = tiny("llama").directory
    before = load_file(directory / "model.safetensors")
    merged_logits(directory, lambda config: random_adapter(low_rank_slots(config)))
    for name, tensor in load_file(directory / "model.safetensors").items():
        torch.testing.assert_close(tensor, before[name], atol=0, rtol=0)


@pytest.fixture
def written(tiny: Callable[[str], TinyModel], tmp_path: Path) -> tuple[Path, GPTConfig]:
    """An adapter of the tiny llama, to be broken."""
    config = tiny("llama").backbone.config
    write_low_rank(random_adapter(low_rank_slots(config)), tmp_path, config)
    return tmp_path, config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"an_option_of_tomorrow": 3}, "an_option_of_tomorrow"),
    ],
)
def test_adapters_that_do_more_are_refused(
    changes: dict[str, object], message: str, written: tuple[Path, GPTConfig]
) -> None:
    directory, config = written
    values = json.loads((directory / ADAPTER_CONFIG).read_text())
    (directory / ADAPTER_CONFIG).write_text(json.dumps(values | changes))
    with pytest.raises(UnsupportedModelError, match=message):
        read_low_rank(directory, config)


Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda tensors: {name: one for name, one in tensors.items() if name != Q}, CheckpointError, "lacks .*lora_A"),
        (lambda tensors: tensors | {Q: torch.zeros(3, 5)}, CheckpointError, r"shape \(3, 5\)"),
        (lambda tensors: tensors | {Q.replace("q_proj", "w_proj"): torch.zeros(3, 5)}, UnsupportedModelError, "w_proj"),
        (lambda tensors: tensors | {"base_model.model.lm_head.weight": torch.zeros(3)}, UnsupportedModelError, "lm_h"),
    ],
)
def test_damaged_adapters_are_refused(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    error: type[Exception],
    message: str,
    written: tuple[Path, GPTConfig],
) -> None:
    directory, config = written
    tensors = {name: tensor.clone() for name, tensor in load_file(directory / ADAPTER_WEIGHTS).items()}
    save_file(change(tensors), directory / ADAPTER_WEIGHTS)
    with pytest.raises(error, match=message):
        read_low_rank(directory, config)
