"""Texts that begin the same way are read once: a radix tree of token sequences with their keys and values.

Every node holds a stretch of tokens, the segment of their keys and values behind the parent's, and the hidden state
behind each token. Reading many sequences together branches wherever they part (instructions, worked examples,
document, question, label), and each level is one forward pass over all of its new stretches. What is no longer needed
is evicted, least recently used first, when the memory bound asks for it.

Symbols: T tokens of a stretch, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gptapps.backbone.kv_cache import bytes_per_token
from gptapps.backbone.segment import Segment
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import ResourceError

Tokens = tuple[int, ...]

_PADDED_TOKENS = 4096  # the most that one forward pass may encode, padding included
_MAX_ROWS = 64


@dataclass(slots=True, eq=False)
class _Node:
    """A stretch of tokens behind its parent's; the root has none."""

    tokens: Tokens
    parent: _Node | None
    segment: Segment | None
    hidden: Tensor  # (T, C)
    children: dict[int, _Node] = field(default_factory=dict)
    last_used: int = 0

    @property
    def bytes(self) -> int:
        return (self.segment.bytes if self.segment else 0) + self.hidden.nbytes


@dataclass(slots=True, eq=False)
class _Path:
    """How far one sequence has been read: the last node, the hidden states so far, and the tokens left."""

    node: _Node
    states: list[Tensor]
    rest: Tokens


class PrefixTree:
    """Reads sequences, sharing what they have in common with each other and with earlier ones.

    Args:
        model: which.
        max_bytes: the most memory for keys, values and hidden states; None for no bound.

    Attributes:
        encoded_tokens: how many tokens have gone through the model.

    Not thread-safe: each call of a pipeline has a tree of its own.
    """

    def __init__(self, model: LanguageModel, *, max_bytes: int | None = None) -> None:
        self.model = model
        self.max_bytes = max_bytes
        self.encoded_tokens = 0
        backbone = model.backbone
        self._root = _Node((), None, None, torch.empty(0, backbone.config.channels, device=backbone.device))
        self._bytes = 0
        self._clock = 0
        self._token_bytes = (
            bytes_per_token(backbone.config, backbone.dtype) + backbone.config.channels * backbone.dtype.itemsize
        )

    @property
    def bytes(self) -> int:
        """Memory held by the tree now."""
        return self._bytes

    def release(self) -> None:
        """Forget everything."""
        while self._evict_one(protected=frozenset()):
            pass

    @torch.inference_mode()
    def read(self, sequences: Sequence[Tokens], starts: Sequence[int]) -> list[Tensor]:
        """Return the hidden states of sequences.

        Args:
            sequences: ids, at least one each; what several begin with is encoded once.
            starts: for each the position from which on its hidden states are wanted.

        Returns:
            For each a tensor (T, C), T its length less its start.

        Raises:
            ResourceError: the longest sequence alone passes the memory bound.
        """
        results: dict[int, Tensor] = {}
        for group in self._groups(sequences):
            paths = {number: _Path(self._root, [], sequences[number]) for number in group}
            while any(path.rest for path in paths.values()):
                for path in paths.values():
                    self._follow(path)
                self._grow(list(paths.values()))
            results |= {number: _from(path.states, starts[number]) for number, path in paths.items()}
        return [results[number] for number in range(len(sequences))]

    def _groups(self, sequences: Sequence[Tokens]) -> Iterator[list[int]]:
        """Split the sequences, neighbours in lexicographic order together, so that each group fits the bound."""
        order = sorted(range(len(sequences)), key=sequences.__getitem__)
        group: list[int] = []
        needed = 0
        previous: Tokens = ()
        for number in order:
            fresh = len(sequences[number]) - shared_length(previous, sequences[number])
            alone = len(sequences[number]) * self._token_bytes
            if self.max_bytes is not None and alone > self.max_bytes:
                raise ResourceError(
                    f"A text of {len(sequences[number])} tokens needs {alone:,} bytes of key/value cache, more "
                    f"than the bound of {self.max_bytes:,} bytes: shorten the text or raise the bound."
                )
            if group and self.max_bytes is not None and (needed + fresh) * self._token_bytes > self.max_bytes:
                yield group
                group, needed, fresh = [], 0, len(sequences[number])
            group.append(number)
            needed += fresh
            previous = sequences[number]
        if group:
            yield group

    def _follow(self, path: _Path) -> None:
        """Walk down the tree as far as it has what the path's sequence goes on with."""
        while path.rest and (child := path.node.children.get(path.rest[0])):
            same = shared_length(child.tokens, path.rest)
            if same < len(child.tokens):
                child = self._split(child, same)
            self._clock += 1
            child.last_used = self._clock
            path.states.append(child.hidden)
            path.node, path.rest = child, path.rest[same:]

    def _split(self, node: _Node, place: int) -> _Node:
        """Cut a node in two and return the upper part; copied, so that either can be evicted alone."""
        parent, segment = node.parent, node.segment
        if parent is None or segment is None:
            raise ValueError("the root is never split")
        upper = _Node(
            node.tokens[:place],
            parent,
            Segment(segment.keys[:, :, :place].clone(), segment.values[:, :, :place].clone(), parent.segment),
            node.hidden[:place].clone(),
            last_used=node.last_used,
        )
        node.segment = Segment(segment.keys[:, :, place:].clone(), segment.values[:, :, place:].clone(), upper.segment)
        parent.children[node.tokens[0]] = upper
        node.tokens, node.hidden, node.parent = node.tokens[place:], node.hidden[place:].clone(), upper
        upper.children[node.tokens[0]] = node
        self._reparent(node)
        segment.release()
        return upper

    def _reparent(self, node: _Node) -> None:
        """Let the segments below a split node continue its new one."""
        for child in node.children.values():
            if child.segment is not None:
                old = child.segment
                child.segment = Segment(old.keys, old.values, node.segment)
                self._reparent(child)
                old.release()

    def _grow(self, paths: Sequence[_Path]) -> None:
        """Encode the next stretch of every unfinished path: up to where the paths from one node part again."""
        following: dict[tuple[int, int], list[_Path]] = {}
        for path in paths:
            if path.rest:
                following.setdefault((id(path.node), path.rest[0]), []).append(path)
        stretches = [(members, _common(member.rest for member in members)) for members in following.values()]
        stretches.sort(key=lambda stretch: -len(stretch[1]))
        while stretches:
            longest = len(stretches[0][1])
            count = max(1, min(len(stretches), _PADDED_TOKENS // longest, _MAX_ROWS))
            self._encode(stretches[:count], {id(node) for path in paths for node in _lineage(path.node)})
            del stretches[:count]

    def _encode(self, stretches: Sequence[tuple[list[_Path], Tokens]], protected: set[int]) -> None:
        self._make_room(sum(len(tokens) for _, tokens in stretches), frozenset(protected))
        cache = self.model.new_cache()
        rows = cache.add_rows([members[0].node.segment for members, _ in stretches])
        hidden = self.model.read([tokens for _, tokens in stretches], rows)
        for row, (members, tokens) in enumerate(stretches):
            self.encoded_tokens += len(tokens)
            states = hidden[row, : len(tokens)].clone()
            parent = members[0].node
            if all(len(member.rest) == len(tokens) for member in members):
                node = parent  # nothing goes on from here, so nobody will ask for its keys again
            else:
                self._clock += 1
                node = _Node(tokens, parent, cache.freeze(row), states, last_used=self._clock)
                parent.children[tokens[0]] = node
                self._bytes += node.bytes
            for member in members:
                member.states.append(states)
                member.node, member.rest = node, member.rest[len(tokens) :]
        cache.release()

    def _make_room(self, tokens: int, protected: frozenset[int]) -> None:
        while self.max_bytes is not None and self._bytes + tokens * self._token_bytes > self.max_bytes:
            if not self._evict_one(protected):
                return  # what is left is needed now; the groups were made so that it fits

    def _evict_one(self, protected: frozenset[int]) -> bool:
        leaves = [node for node in _nodes_below(self._root) if not node.children and id(node) not in protected]
        if not leaves:
            return False
        oldest = min(leaves, key=lambda node: node.last_used)
        self._bytes -= oldest.bytes
        if oldest.parent is not None and oldest.segment is not None:
            del oldest.parent.children[oldest.tokens[0]]
            oldest.segment.release()
        return True


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common."""
    shortest = min(len(first), len(second))
    if tuple(first[:shortest]) == tuple(second[:shortest]):
        return shortest
    return next(place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)


def _from(states: Sequence[Tensor], start: int) -> Tensor:
    wanted = []
    for stretch in states:
        if start < len(stretch):
            wanted.append(stretch[start:])
        start = max(start - len(stretch), 0)
    return torch.cat(wanted)


def _common(sequences: Iterator[Tokens]) -> Tokens:
    found = list(sequences)
    low, high = min(found), max(found)
    return low[: shared_length(low, high)]


def _lineage(node: _Node) -> Iterator[_Node]:
    current: _Node | None = node
    while current is not None:
        yield current
        current = current.parent


def _nodes_below(node: _Node) -> Iterator[_Node]:
    for child in node.children.values():
        yield child
        yield from _nodes_below(child)
