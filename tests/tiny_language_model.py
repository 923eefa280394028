"""A tiny random model on disk that speaks the default model's vocabulary, as transformers writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gptapps.tokenization.tokenizer import Tokenizer

_SPREAD = 0.4  # of the weights: wide enough that no two logits are near each other by chance


def write_tiny_model(directory: Path, tokenizer: Tokenizer, *, context_length: int = 4096, chat: bool = True) -> Path:
    """Write a model with two layers of random weights, the same at each call.

    Args:
        directory: where to.
        tokenizer: whose vocabulary it gets.
        context_length: the most tokens it can hold.
        chat: False leaves the chat template out, as with a base model.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=tokenizer.vocabulary_size,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=context_length,
                initializer_range=_SPREAD,
                tie_word_embeddings=True,
            )
        )
    model.save_pretrained(directory)
    tokenizer.save(directory)
    if not chat:
        (directory / "chat_template.jinja").unlink()
    return directory


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread while the block runs.

    With matrices this small a second one only waits, and on a busy machine both wait for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
