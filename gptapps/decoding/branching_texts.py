"""Many texts, each with several continuations, as one branching structure of the tokens that have to be read.

Every token that texts share from the same place stands once. The structure is walked depth first and cut into passes
through the model, each of at most so many tokens, whatever the lengths of the texts: nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from gptapps.decoding.prefix_tree import Node, Tokens, shared_length


@dataclass(slots=True, eq=False)
class Stretch:
    """Tokens that some texts go on with from the same place.

    Attributes:
        tokens: of this stretch alone; none at the top of the structure.
        node: at the top, what of the texts was read before.
        above: the stretch before it; None at the top.
        below: the stretches that follow, by their first token.
        begin: place of its first token in the texts.
        texts: how many texts, without their continuations, go through all of it.
        keys, values: (L, K, T, D), where a later pass or the tree needs them.
    """

    tokens: Tokens
    node: Node
    above: Stretch | None = None
    begin: int = 0
    texts: int = 0
    below: dict[int, Stretch] = field(default_factory=dict)
    keys: Tensor | None = None
    values: Tensor | None = None

    @property
    def end(self) -> int:
        """Place behind its last token."""
        return self.begin + len(self.tokens)

    def grow(self, tokens: Tokens, *, texts: int = 0) -> Stretch:
        """Let a text go on with ``tokens`` behind this stretch; return the stretch that ends where they do.

        Args:
            tokens: what follows; may be empty.
            texts: 1 where this is part of a text, 0 for a continuation.
        """
        current, rest = self, tokens
        while rest:
            following = current.below.get(rest[0])
            if following is None:
                following = current.below[rest[0]] = Stretch(rest, self.node, current, current.end)
            elif (same := shared_length(following.tokens, rest)) < len(following.tokens):
                following = following.cut(same)
            following.texts += texts
            current, rest = following, rest[len(following.tokens) :]
        return current

    def cut(self, place: int) -> Stretch:
        """Cut this stretch in two and return the new upper part; this object stays the end of what ended in it."""
        if self.above is None:
            raise ValueError("the top holds no tokens to cut")
        upper = Stretch(self.tokens[:place], self.node, self.above, self.begin, self.texts)
        self.above.below[upper.tokens[0]] = upper
        self.tokens, self.above, self.begin = self.tokens[place:], upper, self.begin + place
        upper.below[self.tokens[0]] = self
        return upper

    def lineage(self) -> Iterator[Stretch]:
        """Yield this stretch and those above it, without the top."""
        current = self
        while current.above is not None:
            yield current
            current = current.above

    def all_below(self) -> Iterator[Stretch]:
        """Yield the stretches below, depth first, each in front of what follows it."""
        for stretch in self.below.values():
            yield stretch
            yield from stretch.all_below()


def passes(tops: Sequence[Stretch], most: int) -> Iterator[list[Stretch]]:
    """Yield the stretches to read in each pass, at most ``most`` tokens; longer stretches are cut."""
    members: list[Stretch] = []
    room = most
    for top in tops:
        waiting = list(reversed(top.below.values()))
        while waiting:
            stretch = waiting.pop()
            if len(stretch.tokens) > most:
                stretch = stretch.cut(most)
            if len(stretch.tokens) > room:
                yield members
                members, room = [], most
            members.append(stretch)
            room -= len(stretch.tokens)
            waiting += reversed(stretch.below.values())
    if members:
        yield members
