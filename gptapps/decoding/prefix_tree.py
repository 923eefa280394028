"""What texts begin with in common, kept so that it is read once: a radix tree of tokens with their keys and values.

Every node is a stretch of tokens and the segment of their keys and values behind the parent's. Texts branch wherever
they part (instructions, worked examples, document, question); a stretch of a few tokens is not worth a node, because
reading it again costs less than keeping it apart. What nobody stands behind is evicted, least recently used first, when
the memory bound asks for it.

Symbols: L layers, K key/value heads, T tokens of a stretch, D head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from gptapps.backbone.config import GPTConfig
from gptapps.backbone.kv_cache import bytes_per_token
from gptapps.backbone.rotary import DynamicScaling, LongRopeScaling
from gptapps.backbone.segment import Segment
from gptapps.decoding.language_model import LanguageModel

Tokens = tuple[int, ...]

LEAST_SHARED = 16
"""Tokens below which a common beginning isn't worth a node of its own.

On a CPU a pass through the model takes as long as some twenty tokens even if it reads one, so that a shorter stretch
(the token that begins texts, the header of a chat) costs next to nothing to read beside what follows it.
"""

KEPT_BYTES = 1 << 26
"""The most that is kept from one call to the next: instructions and worked examples, not whole documents."""

_DEFAULT_BYTES = 1 << 28  # where the caller sets no bound


@dataclass(slots=True, eq=False)
class Node:
    """A stretch of tokens behind its parent's; the root has none.

    Attributes:
        tokens: of this stretch alone.
        parent: the stretch before it.
        segment: its keys and values behind the parent's; None for the root.
        children: stretches that follow; what two of them begin with in common isn't worth a node.
        last_used: when it was last found, on the tree's clock.
    """

    tokens: Tokens
    parent: Node | None = None
    segment: Segment | None = None
    children: list[Node] = field(default_factory=list)
    last_used: int = 0

    @property
    def end(self) -> int:
        """Tokens of the text up to here."""
        return self.segment.end if self.segment else 0


class PrefixTree:
    """Keeps the keys and values of beginnings.

    Args:
        model: which.
        max_bytes: the most memory for what is kept; None for 256 MiB. What rows still stand behind stays.
        least_shared: tokens below which a beginning is read again rather than kept apart.

    Attributes:
        is_bounded: the caller set the bound, so that it holds for what is being read as well.
        encoded_tokens: how many tokens its users sent through the model.

    Not thread-safe: whoever reads through it has it for himself (see :mod:`gptapps.decoding.tree_shelf`).
    """

    def __init__(self, model: LanguageModel, *, max_bytes: int | None = None, least_shared: int = LEAST_SHARED) -> None:
        backbone = model.backbone
        self.model = model
        self.is_bounded = max_bytes is not None
        self.max_bytes = _DEFAULT_BYTES if max_bytes is None else max_bytes
        self.least_shared = least_shared
        self.encoded_tokens = 0
        self.token_bytes = bytes_per_token(backbone.config, backbone.dtype)
        self.longest_shared = _longest_shared(backbone.config)
        self.root = Node(())
        self._bytes = 0
        self._clock = 0
        self._passing: tuple[Node, int] | None = None  # with the time it came
        self._split_in_use: list[Segment] = []

    @property
    def bytes(self) -> int:
        """Memory held now, by nodes and by what they were before a split that rows still stand behind."""
        self._split_in_use = [segment for segment in self._split_in_use if segment.references]
        return self._bytes + sum(segment.bytes for segment in self._split_in_use)

    def find(self, tokens: Tokens) -> Node:
        """Return the deepest node whose text ``tokens`` begin with; a node that they leave halfway is split."""
        node, rest = self.root, tokens
        while rest:
            lengths = [shared_length(child.tokens, rest) for child in node.children]
            same = max(lengths, default=0)
            if same == 0:
                break
            child = node.children[lengths.index(same)]
            if same < len(child.tokens):
                if same < self.least_shared:
                    break
                child = self._split(child, same)
            self._clock += 1
            child.last_used = self._clock
            node, rest = child, rest[same:]
        return node

    def insert(self, parent: Node, tokens: Tokens, keys: Tensor, values: Tensor, *, passing: bool = False) -> Node:
        """Add a stretch behind ``parent``, whose room was made before.

        Args:
            parent: the node before it.
            tokens: T of them.
            keys, values: (L, K, T, D); the tree owns them from now on.
            passing: a guess that texts to come begin so. Of such stretches the tree keeps the latest only, and those
                that were found again.
        """
        if passing:
            self._forget_passing()
        self._clock += 1
        node = Node(tokens, parent, Segment(keys, values, parent.segment), last_used=self._clock)
        parent.children.append(node)
        self._bytes += keys.nbytes + values.nbytes
        if passing:
            self._passing = node, self._clock
        return node

    @contextmanager
    def held(self, nodes: Iterable[Node]) -> Iterator[None]:
        """Keep nodes, and what they stand behind, from being evicted while the block runs."""
        segments = [node.segment.retain() for node in nodes if node.segment]
        try:
            yield
        finally:
            for segment in segments:
                segment.release()

    def make_room(self, tokens: int) -> bool:
        """Evict until ``tokens`` more fit the bound; return whether they do."""
        return self.trim(self.max_bytes - tokens * self.token_bytes)

    def trim(self, max_bytes: int) -> bool:
        """Evict what nobody stands behind until at most ``max_bytes`` are held; return whether that succeeded."""
        while self.bytes > max_bytes:
            idle = [node for node in _nodes_below(self.root) if _is_idle(node)]
            if not idle:
                return False
            self._evict(min(idle, key=lambda node: node.last_used))
        return True

    def release(self) -> None:
        """Forget everything that nobody stands behind."""
        self.trim(0)

    def _forget_passing(self) -> None:
        if self._passing is not None:
            (node, came), self._passing = self._passing, None
            if node.parent is not None and node in node.parent.children and node.last_used == came and _is_idle(node):
                self._evict(node)

    def _evict(self, node: Node) -> None:
        if node.parent is not None and node.segment is not None:
            self._bytes -= node.segment.bytes
            node.parent.children.remove(node)
            node.segment.release()

    def _split(self, node: Node, place: int) -> Node:
        """Cut a node in two and return the upper part; copied, so that either can be evicted alone."""
        parent, segment = node.parent, node.segment
        if parent is None or segment is None:
            raise ValueError("the root is never split")
        upper = Node(
            node.tokens[:place],
            parent,
            Segment(segment.keys[:, :, :place].clone(), segment.values[:, :, :place].clone(), parent.segment),
            last_used=node.last_used,
        )
        node.segment = Segment(segment.keys[:, :, place:].clone(), segment.values[:, :, place:].clone(), upper.segment)
        parent.children[parent.children.index(node)] = upper
        node.tokens, node.parent = node.tokens[place:], upper
        upper.children.append(node)
        _reparent(node)
        segment.release()
        if segment.references:
            self._split_in_use.append(segment)
        return upper


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences of the same type begin with in common."""
    low, high = 0, min(len(first), len(second))
    if first[:high] == second[:high]:
        return high
    while high - low > 1:  # they are equal up to low, and differ before high
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _reparent(node: Node) -> None:
    """Let the segments below a split node continue its new one."""
    for child in node.children:
        if child.segment is not None:
            old = child.segment
            child.segment = Segment(old.keys, old.values, node.segment)
            _reparent(child)
            old.release()


def _is_idle(node: Node) -> bool:
    return not node.children and node.segment is not None and node.segment.references == 1


def _nodes_below(node: Node) -> Iterator[Node]:
    for child in node.children:
        yield child
        yield from _nodes_below(child)


def _longest_shared(config: GPTConfig) -> int:
    """Return up to which length the keys of a text don't depend on how it goes on."""
    scalings = [rotary.scaling for rotary in (config.rotary, config.local_rotary) if rotary is not None]
    limits = [one.original_context for one in scalings if isinstance(one, DynamicScaling | LongRopeScaling)]
    return min([config.context_length, *limits])
