"""Packed texts that are seen in both directions: as transformers with an open mask, each as if it stood alone."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gptapps.heads.loading import load_language_model
from gptapps.kernels.reference_attention import open_attention


def test_as_transformers_with_an_open_mask(tmp_path) -> None:
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=24, n_head=3, n_layer=2, n_positions=16)).eval()
    theirs.save_pretrained(tmp_path)
    backbone, _ = load_language_model(tmp_path)
    texts = (5, 9)
    tokens = torch.randint(50, (sum(texts),))
    with torch.no_grad():
        ours = backbone.read_packed(tokens, texts, causal=False)
        for text, states in zip(tokens.split(texts), ours.split(texts), strict=True):
            mask = torch.zeros(1, 1, len(text), len(text))  # added to the scores
            expected = theirs.transformer(text.unsqueeze(0), attention_mask=mask).last_hidden_state[0]
            torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [1, 3, 20])
def test_a_window_lies_to_both_sides(window: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, 11, 8) for heads in (4, 2, 2))
    out = open_attention(q, k, v, (4, 7), scale=0.3, window=window)
    scores = q @ k.repeat_interleave(2, 1).transpose(2, 3) * 0.3
    text, place = torch.tensor([0] * 4 + [1] * 7), torch.arange(11)
    sees = (text.unsqueeze(1) == text) & ((place.unsqueeze(1) - place).abs() < window)
    weights = scores.masked_fill(~sees, -torch.inf).softmax(3)
    torch.testing.assert_close(out, weights @ v.repeat_interleave(2, 1))
