"""Log-likelihoods of continuations.

All continuations of a text are scored from one encoding of it, and what texts begin with in common (instructions,
worked examples, a document) is encoded once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from gptapps.decoding.intake import Intake
from gptapps.decoding.prefix_tree import PrefixTree, Tokens, shared_length
from gptapps.decoding.shared_reading import Choices, Scores, pass_tokens, read_scores

__all__ = ["Choices", "choice_scores", "score_choices", "split_choices"]


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


def score_choices(tree: PrefixTree, items: Iterable[Choices], *, batch_size: int = 8) -> Iterator[tuple[float, ...]]:
    """Yield the log-likelihood of each continuation of each item, in nats, lazily and in order.

    See :func:`choice_scores` for the rest.
    """
    for scores in choice_scores(tree, items, batch_size=batch_size):
        yield tuple(math.fsum(token.log_probability for token in continuation) for continuation in scores)


def choice_scores(tree: PrefixTree, items: Iterable[Choices], *, batch_size: int = 8) -> Iterator[Scores]:
    """Yield the scores of each item, token by token, lazily and in order.

    As many items are read together as fill one pass through the model, long ones alone, and each is yielded when its
    pass is done, so that little is lost where the work is cut off.

    Args:
        tree: what was read before, and the memory bound.
        items: texts with their continuations.
        batch_size: how many are read together at most.

    Raises:
        InputTooLongError: a text with its longest continuation passes the context length.
        ResourceError: an item alone passes the memory bound.
    """
    intake = Intake(items)
    most = pass_tokens(tree.model.backbone)
    batch: list[Choices] = []
    size = 0
    previous: Tokens = ()
    while taken := intake.take(1):
        (item,) = taken
        fresh = len(item.text) - shared_length(previous, item.text) + sum(map(len, item.continuations))
        if batch and (size + fresh > most or item.read > tree.model.context_length):
            yield from read_scores(tree, batch)
            batch, size = [], 0
        batch.append(item)
        size += fresh
        previous = item.text
        if len(batch) == batch_size or size >= most:
            yield from read_scores(tree, batch)
            batch, size = [], 0
    if batch:
        yield from read_scores(tree, batch)
    intake.raise_error()
