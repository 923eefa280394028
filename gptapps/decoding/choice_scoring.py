"""Log-likelihoods of continuations.

All continuations of a text are scored from one encoding of it, and what texts begin with in common (instructions,
worked examples, a document) is encoded once for all of them. Symbols: B texts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gptapps.decoding.intake import Intake
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import PrefixTree, shared_length
from gptapps.errors import InputTooLongError

_TREE_BYTES = 1 << 30  # where the caller sets no bound


@dataclass(frozen=True, slots=True)
class Choices:
    """A text and the continuations to compare; both are token ids, the text has at least one."""

    text: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]


def split_choices(encoded: Sequence[Sequence[int]], text: Sequence[int] | None = None) -> Choices:
    """Split whole texts, each with its continuation, where they first differ.

    A continuation is scored as the tokens that the whole text really has, even where the border between text and
    continuation falls inside a token.

    Args:
        encoded: ids of text + continuation, for each continuation.
        text: ids of the text alone, where what all continuations begin with has to count as well.
    """
    whole = [*map(tuple, encoded), *([tuple(text)] if text is not None else [])]
    shared = min(shared_length(min(whole), max(whole)), min(len(ids) for ids in encoded) - 1)
    return Choices(tuple(encoded[0][:shared]), tuple(tuple(ids[shared:]) for ids in encoded))


def score_choices(
    model: LanguageModel,
    items: Iterable[Choices],
    *,
    batch_size: int = 8,
    max_cache_bytes: int | None = None,
) -> Iterator[tuple[float, ...]]:
    """Yield the log-likelihood of each continuation of each item, in nats, lazily and in order.

    Args:
        model: which.
        items: texts with their continuations.
        batch_size: how many texts are read together.
        max_cache_bytes: the most memory for keys, values and hidden states; None for 1 GiB.

    Raises:
        InputTooLongError: text and longest continuation pass the context length.
        ResourceError: the memory bound would be passed.
    """
    intake, tree = Intake(items), PrefixTree(model, max_bytes=max_cache_bytes or _TREE_BYTES)
    while batch := intake.take(batch_size):
        yield from _score_batch(tree, batch)
    intake.raise_error()


@torch.inference_mode()
def _score_batch(tree: PrefixTree, batch: Sequence[Choices]) -> list[tuple[float, ...]]:
    model = tree.model
    for item in batch:
        total = len(item.text) + max(len(ids) for ids in item.continuations)
        if total > model.context_length:
            raise InputTooLongError(
                f"Text and continuation have {total} tokens, and the model holds {model.context_length}: "
                "shorten the text."
            )
    wanted = [(item, ids) for item in batch for ids in item.continuations]
    states = tree.read([(*item.text, *ids[:-1]) for item, ids in wanted], [len(item.text) - 1 for item, _ in wanted])
    firsts = [sum(len(item.continuations) for item in batch[:number]) for number in range(len(batch))]
    first_scores = model.logits(torch.stack([states[first][0] for first in firsts])).log_softmax(1)  # (B, V)
    later = torch.cat([hidden[1:] for hidden in states])
    targets = torch.tensor([token for _, ids in wanted for token in ids[1:]], device=later.device)
    parts = torch.split(model.log_probabilities(later, targets), [len(ids) - 1 for _, ids in wanted])
    scores = iter(parts)
    return [
        tuple(float(first_scores[row, ids[0]]) + float(next(scores).sum()) for ids in item.continuations)
        for row, item in enumerate(batch)
    ]
