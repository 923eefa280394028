"""Scores of continuations, with everything that texts begin with in common read once.

Symbols: C channels, N scored places, T new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gptapps.backbone.compact import is_compact
from gptapps.backbone.gpt import GPTBackbone
from gptapps.decoding.branching_texts import Stretch, passes
from gptapps.decoding.packed_pass import PackedPass
from gptapps.decoding.prefix_tree import Node, PrefixTree, Tokens, shared_length
from gptapps.errors import InputTooLongError, ResourceError

_LOGIT_ROWS = 64  # places whose logits are held at once: enough for the matrix product, and little memory


@dataclass(frozen=True, slots=True)
class Choices:
    """A text and the continuations to compare; all are token ids, none is empty."""

    text: Tokens
    continuations: tuple[Tokens, ...]

    @property
    def read(self) -> int:
        """Tokens to read for the longest continuation: nothing is predicted from the last one."""
        return len(self.text) + max(map(len, self.continuations)) - 1

    @property
    def tokens(self) -> int:
        """All tokens, those of every continuation included."""
        return len(self.text) + sum(map(len, self.continuations))


@dataclass(frozen=True, slots=True)
class TokenScore:
    """What a model says of one token of a text.

    Attributes:
        log_probability: in nats.
        likeliest: whether greedy decoding would have taken it.
    """

    log_probability: float
    likeliest: bool


Scores = tuple[tuple[TokenScore, ...], ...]
"""Of one item: for each continuation the score of each of its tokens."""


def pass_tokens(backbone: GPTBackbone) -> int:
    """Return the most tokens that one pass reads: as many as keep the device busy, or make widening a small matter."""
    if backbone.device.type != "cpu":
        return 2048
    return 1024 if is_compact(backbone) else 512


def require_readable(tree: PrefixTree, item: Choices) -> None:
    """Refuse an item that can't be read even alone.

    Raises:
        InputTooLongError: a text with its longest continuation passes the context length.
        ResourceError: the item passes the tree's memory bound.
    """
    if item.read > tree.model.context_length:
        raise InputTooLongError(
            f"Text and continuation have {item.read + 1} tokens, of which the model has to read all but the last, "
            f"and it holds {tree.model.context_length}: shorten the text."
        )
    shares = item.read <= tree.longest_shared
    if shares and tree.is_bounded and item.tokens * tree.token_bytes > tree.max_bytes:
        raise ResourceError(
            f"A text of {item.tokens} tokens, its continuations included, needs {item.tokens * tree.token_bytes:,} "
            f"bytes of key/value cache, more than the bound of {tree.max_bytes:,} bytes: shorten the text or raise the "
            "bound."
        )


@torch.inference_mode()
def read_scores(tree: PrefixTree, items: Sequence[Choices]) -> list[Scores]:
    """Return the scores of each item, read together.

    What the items begin with in common, with each other and with what the tree holds, is read once. The tree keeps
    what several of them share, and the last one's text as a guess at what comes next.

    Raises:
        InputTooLongError: a text with its longest continuation passes the context length.
        ResourceError: an item alone passes the tree's memory bound.
    """
    for item in items:
        require_readable(tree, item)
    # Keys that depend on how a text goes on (see RotaryConfig) can't be shared.
    alone = {number for number, item in enumerate(items) if item.read > tree.longest_shared}
    found = {number: _scores_alone(tree, items[number]) for number in alone}
    for group in _groups(tree, items, [number for number in range(len(items)) if number not in alone]):
        reading = _Reading(tree)
        continuations = [reading.add(items[number]) for number in group]
        latest = max(group)
        is_small = len(items[latest].text) * tree.token_bytes <= tree.max_bytes // 2
        reading.read(shared_by=2, guess=continuations[group.index(latest)][0].text_end if is_small else None)
        found |= zip(group, (tuple(one.all_scores() for one in several) for several in continuations), strict=True)
    return [found[number] for number in range(len(items))]


@torch.inference_mode()
def read_texts(tree: PrefixTree, texts: Iterable[Tokens]) -> None:
    """Read texts into the tree, which holds them afterwards but for stretches too short to be worth it."""
    reading = _Reading(tree)
    for text in texts:
        reading.add_text(text)
    reading.read(shared_by=1)


def _scores_alone(tree: PrefixTree, item: Choices) -> Scores:
    scores = []
    for ids in item.continuations:
        whole = (*item.text, *ids[:-1])
        hidden = tree.model.read([whole])[0, len(item.text) - 1 :]
        judged = tree.model.judged(hidden, torch.tensor(ids, device=hidden.device))
        scores.append(tuple(map(TokenScore, *(column.tolist() for column in judged))))
        tree.encoded_tokens += len(whole)
    return tuple(scores)


def _groups(tree: PrefixTree, items: Sequence[Choices], numbers: Sequence[int]) -> list[list[int]]:
    """Split the items of these numbers so that each group fits the bound, lexicographic neighbours together."""
    room = tree.max_bytes // tree.token_bytes if tree.is_bounded else None
    groups: list[list[int]] = []
    needed = 0
    previous: Tokens = ()
    for number in sorted(numbers, key=lambda number: items[number].text):
        text, alone = items[number].text, items[number].tokens
        needed += alone - shared_length(previous, text)
        if not groups or (room is not None and needed > room):
            groups.append([])
            needed = alone
        groups[-1].append(number)
        previous = text
    return groups


@dataclass(slots=True, eq=False)
class _Continuation:
    """Where a continuation stands among the stretches, and what was said of its tokens so far."""

    targets: Tokens
    text_end: Stretch
    end: Stretch
    scores: dict[int, TokenScore] = field(default_factory=dict)

    def all_scores(self) -> tuple[TokenScore, ...]:
        """Return the score of each token, in order."""
        return tuple(self.scores[place] for place in range(len(self.targets)))


class _Reading:
    """Texts that are read together: as stretches, each token once, and the passes over these.

    The last token of a text is read with the continuations: what is said of their first tokens comes from there.
    """

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self._tops: dict[int, Stretch] = {}
        self._continuations: list[_Continuation] = []

    def add_text(self, tokens: Tokens) -> Stretch:
        """Add a text, of which the tree may hold the beginning; return where it ends."""
        node = self._tree.find(tokens)
        top = self._tops.setdefault(id(node), Stretch((), node, begin=node.end))
        return top.grow(tokens[node.end :], texts=1)

    def add(self, item: Choices) -> list[_Continuation]:
        """Add a text with its continuations."""
        text_end, last = self.add_text(item.text[:-1]), item.text[-1]
        added = [_Continuation(ids, text_end, text_end.grow((last, *ids[:-1]))) for ids in item.continuations]
        self._continuations += added
        return added

    def read(self, *, shared_by: int, guess: Stretch | None = None) -> None:
        """Read everything, and let the tree keep what at least ``shared_by`` texts share.

        Args:
            shared_by: how many.
            guess: the end of a text that is kept as well, until there is a later guess.
        """
        tree = self._tree
        with tree.held([top.node for top in self._tops.values()]):
            planned = list(passes(list(self._tops.values()), pass_tokens(tree.model.backbone)))
            stretches = [stretch for members in planned for stretch in members]
            kept = {id(stretch) for stretch in stretches if stretch.texts >= shared_by}
            passing = {id(stretch) for stretch in guess.lineage()} - kept if guess is not None else set()
            self._run(planned, kept, passing)
            for top in self._tops.values():
                _keep(tree, top, top.node, (), kept, passing)

    def _run(self, planned: Sequence[Sequence[Stretch]], kept: set[int], passing: set[int]) -> None:
        tree, wanted = self._tree, self._wanted()
        needed = _needed_later(planned, kept | passing)
        held_tokens = 0
        for members in planned:
            one = PackedPass(members)
            tree.make_room(held_tokens + one.tokens)
            hidden = one.read(tree.model, needed)
            tree.encoded_tokens += one.tokens
            held_tokens += sum(len(stretch.tokens) for stretch in members if id(stretch) in needed)
            self._judge(one, hidden, wanted)

    def _wanted(self) -> dict[int, list[tuple[_Continuation, int]]]:
        """Return for each stretch, by ``id``, whose tokens it tells about, and from which of these on."""
        wanted: dict[int, list[tuple[_Continuation, int]]] = {}
        for continuation in self._continuations:
            place = len(continuation.targets)
            for stretch in continuation.end.lineage():
                if place == 0:
                    break
                place -= len(stretch.tokens)
                wanted.setdefault(id(stretch), []).append((continuation, place))
        return wanted

    def _judge(self, one: PackedPass, hidden: Tensor, wanted: dict[int, list[tuple[_Continuation, int]]]) -> None:
        """Score the tokens that come behind the places of a pass, every place's logits computed once."""
        asked = []  # (place in the pass, target, whose, which of its tokens)
        for stretch in one.members:
            first = one.places[id(stretch)]
            for continuation, place in wanted.get(id(stretch), ()):
                asked += [
                    (first + step, continuation.targets[place + step], continuation, place + step)
                    for step in range(len(stretch.tokens))
                ]
        if not asked:
            return
        asked.sort(key=lambda entry: entry[0])
        rows = sorted({entry[0] for entry in asked})
        for start in range(0, len(rows), _LOGIT_ROWS):
            places = {row: number for number, row in enumerate(rows[start : start + _LOGIT_ROWS])}
            here = [entry for entry in asked if entry[0] in places]
            logits = self._tree.model.logits(hidden[list(places)])  # (N, V)
            chosen = [places[entry[0]] for entry in here], [entry[1] for entry in here]
            found = (logits[chosen] - logits.logsumexp(1)[chosen[0]]).tolist()
            likeliest = logits.argmax(1).tolist()
            for (row, target, continuation, place), log_probability in zip(here, found, strict=True):
                continuation.scores[place] = TokenScore(log_probability, likeliest[places[row]] == target)


def _needed_later(planned: Sequence[Sequence[Stretch]], kept: set[int]) -> set[int]:
    """Return which stretches' keys are asked for after their pass: by the tree, or by what follows in another pass."""
    needed = set(kept)
    passed = {id(stretch): number for number, members in enumerate(planned) for stretch in members}
    for stretch in (one for members in reversed(planned) for one in reversed(members)):
        if any(passed[id(one)] != passed[id(stretch)] or id(one) in needed for one in stretch.below.values()):
            needed.add(id(stretch))
    return needed


def _keep(
    tree: PrefixTree, above: Stretch, node: Node, carried: tuple[Stretch, ...], kept: set[int], passing: set[int]
) -> None:
    """Let the tree have the stretches below ``above``; those too short for a node go with what follows them."""
    for stretch in above.below.values():
        if id(stretch) not in kept and id(stretch) not in passing:
            continue
        path = (*carried, stretch)
        size = sum(len(one.tokens) for one in path)
        goes_on = id(stretch) in passing and any(id(one) in passing for one in stretch.below.values())
        if size < tree.least_shared or goes_on:
            _keep(tree, stretch, node, path, kept, passing)
        elif tree.make_room(size):
            tokens = tuple(token for one in path for token in one.tokens)
            keys = torch.cat([one.keys for one in path if one.keys is not None], 2)
            values = torch.cat([one.values for one in path if one.values is not None], 2)
            added = tree.insert(node, tokens, keys, values, passing=id(stretch) in passing)
            with tree.held([added]):
                _keep(tree, stretch, added, (), kept, passing)
