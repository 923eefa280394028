"""Prompts that begin alike: the order to read them in, and rows that stand behind what was read already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from gptapps.backbone.kv_cache import KVCache
from gptapps.decoding.prefix_tree import KEPT_BYTES, LEAST_SHARED, Node, PrefixTree, Tokens, shared_length
from gptapps.decoding.shared_reading import read_texts

_SPARED_TOKENS = 2048
"""Tokens a step that shared keys must spare: standing behind them costs a few operations a layer at every step.

Below that each row gets a copy, which the fused attention reads along with its own. Reading the prompt is spared in
either case.
"""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's ids, and how many of them others that wait begin with as well."""

    tokens: Tokens
    shared: int = 0


def reading_order(
    prompts: Sequence[Tokens], least: int = LEAST_SHARED, *, block: int | None = None
) -> list[tuple[int, int]]:
    """Return the prompts' numbers in the order to read them, each with the number of tokens that it shares.

    Those that begin alike come one after the other, at every level, so that what they share is used while it is there.

    Args:
        prompts: ids of each.
        least: shared tokens below which prompts aren't a family.
        block: of so many prompts, as they were given, the longest comes first, so that little is padded; families come
            by their first member. None makes one block of all, and 1 keeps the order given.

    Example:
        >>> reading_order([(1, 2, 3, 4), (7, 8, 9, 5, 6), (1, 2, 3, 5, 6, 7)], least=2)
        [(2, 3), (0, 3), (1, 0)]
    """
    ordered = sorted(range(len(prompts)), key=prompts.__getitem__)
    common = [shared_length(prompts[first], prompts[second]) for first, second in pairwise(ordered)]
    found: list[tuple[int, int]] = []

    def rank(number: int) -> tuple[int, int, int]:
        return number // block if block else 0, -len(prompts[number]), number

    def visit(first: int, behind: int, depth: int) -> None:
        borders = [place + 1 for place in range(first, behind - 1) if common[place] < depth + least]
        families = [range(*ends) for ends in pairwise([first, *borders, behind])]
        families.sort(key=lambda family: min(rank(ordered[place]) for place in family))
        for family in families:
            if len(family) == 1:
                found.append((ordered[family.start], depth))
            else:
                visit(family.start, family.stop, min(common[family.start : family.stop - 1]))

    if prompts:
        visit(0, len(prompts), 0)
    return found


class PromptReader:
    """Reads the prompts of one call into the rows of a cache, and what they share through a prefix tree.

    Args:
        tree: what was read before.
    """

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self._has_guessed = False

    def known(self, prompts: Sequence[Prompt]) -> tuple[list[Node], int]:
        """Return what the tree has of what these prompts share with others, and how many tokens it lacks of it."""
        beginnings = sorted({self._shared(prompt) for prompt in prompts})
        nodes = [self._tree.find(beginning) for beginning in beginnings]
        fresh = [
            len(second) - max(shared_length(first, second), node.end)
            for (first, second), node in zip(pairwise([(), *beginnings]), nodes, strict=True)
        ]
        return nodes, sum(max(tokens, 0) for tokens in fresh)

    def read(self, cache: KVCache, prompts: Sequence[Prompt], beside: Sequence[Tokens] = ()) -> Tensor:
        """Add a row for each prompt and return the float32 logits (B, V) behind their last tokens.

        Args:
            cache: where to.
            prompts: what to read.
            beside: prompts whose rows will run together with these.

        Raises:
            ResourceError: the cache's memory bound would be passed.
        """
        nodes, fresh = self.known(prompts)
        with self._tree.held(nodes):
            has_room = self._tree.make_room(fresh)
        if fresh and has_room:
            read_texts(self._tree, {self._shared(prompt) for prompt in prompts})
        nodes = [self._known(prompt) for prompt in prompts]
        texts = [*(prompt.tokens for prompt in prompts), *beside]
        stands = [self._should_stand(node, prompt, texts) for node, prompt in zip(nodes, prompts, strict=True)]
        first = cache.rows
        rows = cache.add_rows([node.segment if stand else None for node, stand in zip(nodes, stands, strict=True)])
        for row, (node, stand) in enumerate(zip(nodes, stands, strict=True), first):
            if node.segment and not stand:
                cache.inherit(row, node.segment)
        rests = [prompt.tokens[node.end :] for node, prompt in zip(nodes, prompts, strict=True)]
        logits = self._tree.model.next_token_logits(rests, rows)
        self._tree.encoded_tokens += sum(map(len, rests))
        self._guess(cache, cache.rows - 1, nodes[-1], rests[-1])
        return logits

    def _shared(self, prompt: Prompt) -> Tokens:
        """Return what the prompt shares, without its last token, whose hidden state is needed in any case."""
        size = min(prompt.shared, len(prompt.tokens) - 1)
        worthwhile = size >= LEAST_SHARED and len(prompt.tokens) <= self._tree.longest_shared
        return prompt.tokens[:size] if worthwhile else ()

    def _known(self, prompt: Prompt) -> Node:
        is_known = len(prompt.tokens) <= self._tree.longest_shared
        return self._tree.find(prompt.tokens[:-1]) if is_known else self._tree.root

    def _should_stand(self, node: Node, prompt: Prompt, texts: Sequence[Tokens]) -> bool:
        """Say whether a row stands behind the node instead of getting a copy."""
        if node.segment is None or self._tree.is_bounded:
            return node.segment is not None
        known = prompt.tokens[: node.end]
        together = sum(text[: node.end] == known for text in texts)
        return (together - 1) * node.end >= _SPARED_TOKENS

    def _guess(self, cache: KVCache, row: int, node: Node, rest: Tokens) -> None:
        """Let the tree have one prompt of each call, because the next call's may begin like it."""
        tree = self._tree
        small = len(rest) >= LEAST_SHARED and len(rest) * tree.token_bytes <= KEPT_BYTES
        if self._has_guessed or tree.is_bounded or not small:
            return
        self._has_guessed = True
        with tree.held([node]):
            if tree.make_room(len(rest)):
                own = slice(cache.tails[row] - len(rest), cache.tails[row])
                keys, values = cache.keys[:, row, :, own].clone(), cache.values[:, row, :, own].clone()
                tree.insert(node, rest, keys, values, passing=True)
