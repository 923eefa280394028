"""Log-likelihoods of continuations.

All continuations of a text are scored from one encoding of it, and what texts begin with in common (instructions,
worked examples, a document) is encoded once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gptapps.decoding.intake import LookAhead
from gptapps.decoding.ordering import in_order
from gptapps.decoding.prefix_tree import PrefixTree, Tokens, shared_length
from gptapps.decoding.prompt_sharing import reading_order
from gptapps.decoding.shared_reading import Choices, Scores, pass_tokens, read_scores, require_readable

__all__ = ["Choices", "choice_scores", "log_likelihoods", "scores_unordered", "split_choices"]

_LOOK_AHEAD = 8  # batches of items that may wait to be put in order


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


def log_likelihoods(scores: Scores) -> tuple[float, ...]:
    """Return the log-likelihood of each continuation of an item, in nats."""
    return tuple(math.fsum(token.log_probability for token in continuation) for continuation in scores)


def choice_scores(tree: PrefixTree, items: Iterable[Choices], *, batch_size: int = 8) -> Iterator[Scores]:
    """Yield the scores of each item, token by token, lazily and in order.

    See :func:`scores_unordered` for the rest.
    """
    return in_order(scores_unordered(tree, items, batch_size=batch_size))


def scores_unordered(
    tree: PrefixTree, items: Iterable[Choices], *, batch_size: int = 8
) -> Iterator[tuple[int, Scores]]:
    """Yield each item's number, from 0, and its scores, token by token, lazily and as soon as they are there.

    Up to eight batches of items are taken from the iterable ahead of the first that isn't done, so that those that
    begin alike are read one after the other, whatever stands between them. As many as fill one pass through the model
    are read together, long ones alone.

    An error of the iterable, and an item that can't be read, is raised once everything before it was yielded.

    Args:
        tree: what was read before, and the memory bound.
        items: texts with their continuations.
        batch_size: how many are read together at most.

    Raises:
        InputTooLongError: a text with its longest continuation passes the context length.
        ResourceError: an item alone passes the memory bound.
    """
    ahead = LookAhead(_readable(tree, items), batch_size * _LOOK_AHEAD)
    waiting: dict[int, Choices] = {}
    latest: Tokens = ()
    while True:
        waiting.update(ahead.take())
        if not waiting:
            break
        batch = _next_batch(tree, waiting, latest, batch_size)
        latest = waiting[batch[-1]].text
        found = read_scores(tree, [waiting.pop(number) for number in batch])
        for number, scores in zip(batch, found, strict=True):
            ahead.finish(number)
            yield number, scores
    ahead.raise_error()


def _readable(tree: PrefixTree, items: Iterable[Choices]) -> Iterator[Choices]:
    for item in items:
        require_readable(tree, item)
        yield item


def _next_batch(tree: PrefixTree, waiting: Mapping[int, Choices], latest: Tokens, batch_size: int) -> list[int]:
    """Return the numbers of the items to read next: first those that begin as ``latest``, the last text read, does."""
    most = pass_tokens(tree.model.backbone)
    numbers = [-1, *waiting]
    order = reading_order([latest, *(item.text for item in waiting.values())], block=1)
    batch: list[int] = []
    size = 0
    previous = latest  # which the tree still holds
    for place in [place for place, _ in order if place > 0][:batch_size]:
        item = waiting[numbers[place]]
        fresh = len(item.text) - shared_length(previous, item.text) + sum(map(len, item.continuations))
        if batch and size + fresh > most:
            break
        batch.append(numbers[place])
        size += fresh
        previous = item.text
    return batch
