"""transformers' models on gptapps' attention give what they give on sdpa, or eager where sdpa can't."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, AutoConfig, AutoModel, AutoModelForCausalLM, BertConfig, BertModel

import gptapps
from gptapps.errors import OptionError, ResourceError, UnsupportedModelError
from gptapps.integrations.transformers import attend
from gptapps.kernels.dispatch import VARIABLE

TOLERANCE = 1e-4  # of logits of the order of 1, in float32

_SIZES = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("sdpa", {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "llama": ("sdpa", _SIZES),
    "mistral": ("sdpa", _SIZES | {"sliding_window": 5}),
    "gemma2": ("eager", _SIZES | {"sliding_window": 5, "attn_logit_softcapping": 2.0}),
    "gemma3_text": ("sdpa", _SIZES | {"sliding_window": 5}),
    "gpt_oss": ("eager", _SIZES | {"sliding_window": 5, "num_local_experts": 2, "num_experts_per_tok": 1}),
    "deepseek_v3": (
        "sdpa",
        _SIZES
        | {
            "num_key_value_heads": 4,
            "head_dim": 4,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 8,
            "first_k_dense_replace": 2,
        },
    ),
}


def make(kind: str) -> tuple[Any, Any]:
    """Return a random model on their attention, and the same on ours."""
    theirs, settings = MODELS[kind]
    gptapps.register_attention()
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **settings, attention_dropout=0.0, attn_pdrop=0.0)
    from_config: Any = AutoModelForCausalLM.from_config
    model, ours = (from_config(config, attn_implementation=name) for name in (theirs, "gptapps"))
    ours.load_state_dict(model.state_dict())
    assert ours.config._attn_implementation == "gptapps"
    return model.eval(), ours.eval()


def tokens(rows: int, count: int) -> Tensor:
    return torch.randint(0, 99, (rows, count), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_logits_and_generation_are_those_of_their_attention(kind: str) -> None:
    theirs, ours = make(kind)
    torch.testing.assert_close(ours(tokens(2, 11)).logits, theirs(tokens(2, 11)).logits, atol=TOLERANCE, rtol=TOLERANCE)
    padding = torch.ones(2, 9, dtype=torch.int64)
    padding[1, :4] = 0
    logits = [model(tokens(2, 9), attention_mask=padding).logits for model in (ours, theirs)]
    torch.testing.assert_close(*(x[padding.bool()] for x in logits), atol=TOLERANCE, rtol=TOLERANCE)
    for mask, text in ((padding, tokens(2, 9)), (None, tokens(1, 4))):
        options: dict[str, Any] = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
        assert torch.equal(ours.generate(text, **options), theirs.generate(text, **options))


@torch.no_grad()
def test_kernels_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    theirs, ours = make("gpt_oss")
    text = tokens(1, 7)
    expected = theirs.generate(text, max_new_tokens=2, do_sample=False, pad_token_id=0)
    logits = theirs(text).logits
    monkeypatch.setenv(VARIABLE, "triton")
    torch.testing.assert_close(ours(text).logits, logits, atol=TOLERANCE, rtol=TOLERANCE)
    assert torch.equal(ours.generate(text, max_new_tokens=2, do_sample=False, pad_token_id=0), expected)


@torch.no_grad()
def test_a_saved_model_is_loaded_with_it(tmp_path: Path) -> None:
    theirs, _ = make("mistral")
    theirs.save_pretrained(tmp_path)
    from_pretrained: Any = AutoModelForCausalLM.from_pretrained
    ours = from_pretrained(tmp_path, attn_implementation="gptapps")
    sdpa = from_pretrained(tmp_path, attn_implementation="sdpa")
    assert (ours.config._attn_implementation, sdpa.config._attn_implementation) == ("gptapps", "sdpa")
    text, padding = tokens(2, 11), torch.ones(2, 11, dtype=torch.int64)
    padding[1, :4] = 0  # on the left, as generation pads
    expected = sdpa(text, attention_mask=padding).logits
    logits = ours(text, attention_mask=padding).logits
    seen = padding.bool()
    torch.testing.assert_close(logits[seen], expected[seen], atol=TOLERANCE, rtol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("on_kernels", [False, True])
def test_a_model_that_reads_both_ways(on_kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    gptapps.register_attention()
    torch.manual_seed(0)
    sizes = {name: _SIZES[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
    config = BertConfig(**sizes, intermediate_size=48, attention_probs_dropout_prob=0.0)
    from_config: Any = AutoModel.from_config
    theirs, ours = (from_config(config, attn_implementation=name).eval() for name in ("sdpa", "gptapps"))
    ours.load_state_dict(theirs.state_dict())
    assert isinstance(ours, BertModel)
    text, padding = tokens(2, 9), torch.ones(2, 9, dtype=torch.int64)
    padding[0, 5:] = 0
    expected = [theirs(text, attention_mask=mask).last_hidden_state for mask in (padding, None)]
    if on_kernels:
        pytest.importorskip("triton")
        monkeypatch.setenv(VARIABLE, "triton")
    states = [ours(text, attention_mask=mask).last_hidden_state for mask in (padding, None)]
    seen = padding.bool()
    torch.testing.assert_close(states[0][seen], expected[0][seen], atol=TOLERANCE, rtol=TOLERANCE)
    torch.testing.assert_close(states[1], expected[1], atol=TOLERANCE, rtol=TOLERANCE)


def test_gradients_are_those_of_their_attention() -> None:
    theirs, ours = make("llama")
    for model in (theirs, ours):
        model.train()
        model(tokens(2, 11), labels=tokens(2, 11)).loss.backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=TOLERANCE, rtol=TOLERANCE)


def test_what_it_cannot_do_is_refused() -> None:
    module, x = torch.nn.Identity(), torch.zeros(1, 2, 3, 4)
    with pytest.raises(OptionError, match="no dropout"):
        attend(module, x, x, x, None, dropout=0.1)
    with pytest.raises(UnsupportedModelError, match="Identity adds numbers"):
        attend(module, x, x, x, torch.zeros(1, 1, 3, 3))
    with pytest.raises(UnsupportedModelError, match="Identity adds numbers"):
        attend(module, x, x, x, None, position_bias=torch.zeros(1, 2, 3, 3))
    with pytest.raises(UnsupportedModelError, match="paged"):
        attend(module, x, x, x, None, cache=object())


def test_room_of_a_cache_that_nothing_was_written_to_is_not_seen() -> None:
    x = torch.randn(1, 2, 3, 8, generator=torch.Generator().manual_seed(0))
    room = torch.cat((x, torch.full((1, 2, 4, 8), torch.nan)), 2)
    out, _ = attend(torch.nn.Identity(), x, room, room, None)
    assert torch.equal(out, attend(torch.nn.Identity(), x, x, x, None)[0])


def test_it_is_entered_by_a_call_under_the_name_it_is_given() -> None:
    interface: Any = AttentionInterface
    names = interface()
    assert "under-another-name" not in names
    gptapps.register_attention("under-another-name")
    assert names["under-another-name"] is attend


def test_without_transformers_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ResourceError, match=r"pip install 'gptapps\[transformers\]'"):
        gptapps.register_attention()
