"""A folder that peft saved is a model like any other."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
from tiny_language_model import write_tiny_model
from transformers import AutoModelForCausalLM

from gptapps import pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import ModelNotFoundError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning",
    "ignore:Position ids are not supported:UserWarning",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> Path:
    """A tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("base"), default_model.tokenizer)


def saved(base: Path, config: peft.PeftConfig, folder: Path) -> peft.PeftModel:
    torch.manual_seed(0)
    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, target_modules=["q_proj", "up_proj"]),
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    ],
    ids=["lora", "prompt"],
)
def test_it_loads_and_serves(config: peft.PeftConfig, base: Path, tmp_path: Path) -> None:
    theirs = saved(base, config, tmp_path)
    model = LanguageModel.load(str(tmp_path))
    ids = torch.tensor([[5, 17, 300, 42]])
    opened = torch.tensor([[*model.opening, *ids[0].tolist()]])
    with torch.no_grad():
        ours = model.logits(model.backbone(opened)[0, -4:])
        expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -4:]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    summary = pipeline("summarize", model=tmp_path, max_new_tokens=3)("It rained all day.")
    assert summary.usage.output_tokens > 0


def test_a_base_that_is_gone_can_be_named(base: Path, tmp_path: Path) -> None:
    config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, target_modules=["q_proj"])
    saved(base, config, tmp_path)
    file = tmp_path / "adapter_config.json"
    values = json.loads(file.read_text())
    for name, message in (("/no/such/model", "was trained on the model '/no/such/model'"), (None, "of which model")):
        file.write_text(json.dumps(values | {"base_model_name_or_path": name}))
        with pytest.raises(ModelNotFoundError, match=message):
            LanguageModel.load(str(tmp_path))
        assert LanguageModel.load(str(tmp_path), base=str(base)).backbone.config.layers == 2
