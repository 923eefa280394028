"""The tree keeps what texts begin with, within its bound, and never lets go of what somebody stands behind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import LEAST_SHARED, Node, PrefixTree, Tokens, shared_length

TOKENS = st.lists(st.integers(20, 22), max_size=12).map(tuple)  # few ids, so that texts share beginnings


def text_of(node: Node) -> Tokens:
    return (text_of(node.parent) if node.parent else ()) + node.tokens


def insert(tree: PrefixTree, tokens: Tokens, *, passing: bool = False) -> Node:
    """Add what the tree lacks of a text, with keys that tell their place and token."""
    found = tree.find(tokens)
    if found.end == len(tokens):
        return found
    rest = tokens[found.end :]
    config = tree.model.backbone.config
    shape = (config.layers, config.attention.kv_heads, len(rest), config.attention.head_size)
    keys = torch.tensor(rest, dtype=torch.float32).view(1, 1, -1, 1).expand(shape).clone()
    return tree.insert(found, rest, keys, keys + 1, passing=passing)


def keys_of(node: Node) -> list[int]:
    chain = node.segment.chain() if node.segment else ()
    return [int(key) for segment in chain for key in segment.keys[0, 0, :, 0]]


@given(TOKENS, TOKENS)
def test_the_shared_length_is_where_two_texts_part(first: Tokens, second: Tokens) -> None:
    length = shared_length(first, second)
    assert first[:length] == second[:length]
    assert first[length : length + 1] != second[length : length + 1] or length == min(len(first), len(second))


@given(st.lists(TOKENS, max_size=12), TOKENS)
def test_what_is_found_is_what_stood_there(tiny_model: LanguageModel, texts: list[Tokens], wanted: Tokens) -> None:
    tree = PrefixTree(tiny_model, least_shared=1)
    for text in texts:
        assert keys_of(insert(tree, text)) == list(text)
    node = tree.find(wanted)
    assert node.end == max((shared_length(text, wanted) for text in texts), default=0)
    assert text_of(node) == wanted[: node.end]
    assert keys_of(node) == list(wanted[: node.end])
    assert tree.bytes == tree.token_bytes * len({text[: end + 1] for text in texts for end in range(len(text))})
    tree.release()
    assert tree.bytes == 0


def test_a_few_tokens_in_common_are_no_node(tiny_model: LanguageModel) -> None:
    tree = PrefixTree(tiny_model)
    shared = tuple(range(100, 100 + LEAST_SHARED))
    insert(tree, (*shared[:-1], *range(200, 230)))
    assert tree.find((*shared[:-1], *range(300, 330))) is tree.root
    insert(tree, (*shared, *range(300, 330)))
    assert tree.find((*shared, 400)).tokens == shared


@settings(max_examples=50)
@given(st.lists(st.tuples(TOKENS, st.booleans()), max_size=15), st.integers(12, 30))
def test_the_bound_holds_and_what_is_held_stays(
    tiny_model: LanguageModel, texts: list[tuple[Tokens, bool]], room: int
) -> None:
    tree = PrefixTree(tiny_model, least_shared=1)
    tree.max_bytes = room * tree.token_bytes
    held = []
    for text, hold in texts:
        found = tree.find(text)
        with tree.held([found]):
            if not tree.make_room(len(text) - found.end):
                continue
            node = insert(tree, text)
        assert tree.bytes <= tree.max_bytes + tree.token_bytes * room  # a split of what is held stands there twice
        if hold and node.segment and len(held) < 2:
            held.append((node.segment.retain(), text))
        for segment, known in held:
            assert [int(key) for one in segment.chain() for key in one.keys[0, 0, :, 0]] == list(known)
    for segment, _ in held:
        segment.release()
    tree.release()
    assert tree.bytes == 0


def test_the_least_recently_found_goes_first(tiny_model: LanguageModel) -> None:
    tree = PrefixTree(tiny_model)
    tree.max_bytes = 60 * tree.token_bytes
    first, second, third = (tuple(range(start, start + 30)) for start in (100, 200, 300))
    insert(tree, first)
    insert(tree, second)
    tree.find(first)
    assert tree.make_room(30)
    insert(tree, third)
    assert [tree.find(text).end for text in (first, second, third)] == [30, 0, 30]


def test_of_guesses_the_latest_stays_and_what_was_found_again(tiny_model: LanguageModel) -> None:
    tree = PrefixTree(tiny_model)
    first, second, third = (tuple(range(start, start + 30)) for start in (100, 200, 300))
    insert(tree, first, passing=True)
    insert(tree, second, passing=True)
    assert tree.find(first) is tree.root
    tree.find((*second[:20], 7))
    insert(tree, third, passing=True)
    assert tree.find(second).tokens == second[:20]


def test_the_root_is_never_split(tiny_model: LanguageModel) -> None:
    tree = PrefixTree(tiny_model)
    with pytest.raises(ValueError, match="root"):
        tree._split(tree.root, 0)
