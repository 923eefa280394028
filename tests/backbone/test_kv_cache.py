"""The cache's own promises: memory is bounded, shared memory is let go by its last owner."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from tiny_models import TinyModel, random_tokens

from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.kv_cache import KVCache, bytes_per_token
from gptapps.backbone.segment import Segment
from gptapps.errors import InputTooLongError, ResourceError


@pytest.fixture
def backbone(tiny: Callable[[str], TinyModel]) -> GPTBackbone:
    return tiny("llama").backbone


@pytest.fixture
def uninitialized_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # fills what is merely allocated
    yield
    torch.use_deterministic_algorithms(False)


def read(backbone: GPTBackbone, cache: KVCache, tokens: int, prefix: Segment | None = None) -> None:
    backbone(random_tokens(1, tokens), cache=cache.add_rows([prefix]))


def test_bytes_per_token_is_what_a_token_takes(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    read(backbone, cache, 7)
    assert cache.bytes == 7 * bytes_per_token(backbone.config, torch.float32) == 7 * 2 * 2 * 2 * 12 * 4


def test_half_the_memory_in_half_precision(backbone: GPTBackbone) -> None:
    assert 2 * bytes_per_token(backbone.config, torch.bfloat16) == bytes_per_token(backbone.config, torch.float32)


def test_the_bound_is_kept_and_named(backbone: GPTBackbone) -> None:
    token = bytes_per_token(backbone.config, torch.float32)
    cache = KVCache(backbone.config, max_bytes=20 * token)
    read(backbone, cache, 9)
    rows = cache.all_rows()
    for _ in range(11):
        backbone(random_tokens(1, 1), cache=rows)
        assert cache.bytes <= 20 * token
    with pytest.raises(ResourceError, match=r"1 texts of 21 tokens need .* bytes .* lower batch_size"):
        backbone(random_tokens(1, 1), cache=rows)
    assert cache.length(0) == 20


def test_rows_that_left_make_room_under_the_bound(backbone: GPTBackbone) -> None:
    token = bytes_per_token(backbone.config, torch.float32)
    cache = KVCache(backbone.config, max_bytes=20 * token)
    cache.add_rows(4)
    backbone(random_tokens(4, 5), cache=cache.all_rows())
    for _ in range(3):
        cache.remove_row(0)
    backbone(random_tokens(1, 15), cache=cache.all_rows())
    assert cache.length(0) == 20
    assert cache.bytes <= 20 * token


def test_release_gives_the_memory_back(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    read(backbone, cache, 9)
    cache.release()
    assert (cache.rows, cache.bytes) == (0, 0)
    read(backbone, cache, 3)
    assert cache.length(0) == 3


def test_a_segment_lives_as_long_as_its_last_owner(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    read(backbone, cache, 5)
    segment = cache.freeze(0)
    memory = weakref.ref(segment.keys)
    cache.release()
    cache.add_rows([segment, segment])
    segment.release()
    cache.remove_row(0)
    assert memory() is not None
    assert segment.bytes == 5 * bytes_per_token(backbone.config, torch.float32)
    cache.remove_row(0)
    assert memory() is None
    assert segment.bytes == 0


def test_a_segment_keeps_what_it_continues(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    read(backbone, cache, 5)
    root = cache.freeze(0)
    read(backbone, cache, 4, root)
    child = cache.freeze(1)
    cache.release()
    root.release()
    assert [segment.start for segment in child.chain()] == [0, 5]
    assert child.end == 9
    assert root.bytes > 0
    child.release()
    assert (root.bytes, child.bytes) == (0, 0)


def test_a_row_inherits_a_copy_of_what_it_would_stand_behind(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    read(backbone, cache, 3)
    first = cache.freeze(0)
    read(backbone, cache, 4, first)
    second = cache.freeze(1)
    rows = cache.add_rows([None, second])
    cache.inherit(2, second)
    assert cache.lengths()[2:] == [7, 7]
    assert cache.prefixes[2] is None
    token = random_tokens(1, 1).expand(2, 1)
    copied, shared = backbone(token, cache=rows)
    torch.testing.assert_close(copied, shared, atol=1e-5, rtol=1e-5)


def test_a_bound_that_shrinks_takes_back_what_rows_that_left_had(backbone: GPTBackbone) -> None:
    token = bytes_per_token(backbone.config, torch.float32)
    cache = KVCache(backbone.config)
    read(backbone, cache, 5)
    kept = cache.keys.clone()
    backbone(random_tokens(3, 20), cache=cache.add_rows(3))
    for _ in range(3):
        cache.remove_row(1)
    assert cache.bytes == 4 * 20 * token
    cache.restrict(10 * token)
    assert cache.bytes == 5 * token
    torch.testing.assert_close(cache.keys, kept)


def test_reordering_counts_each_row_once(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    read(backbone, cache, 5)
    segment = cache.freeze(0)
    cache.release()
    cache.add_rows([segment, None, segment])
    cache.reorder([0, 0, 1])
    assert segment.references == 3
    cache.reorder([2])
    assert segment.references == 1
    segment.release()
    assert segment.bytes == 0


def test_a_frozen_segment_does_not_change_with_its_row(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    read(backbone, cache, 5)
    segment = cache.freeze(0)
    before = segment.keys.clone()
    cache.truncate(0, 1)
    backbone(random_tokens(1, 6, seed=1), cache=cache.all_rows())
    assert torch.equal(segment.keys, before)


@pytest.mark.usefixtures("uninitialized_memory_is_nan")
def test_slots_nobody_wrote_do_no_harm(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    cache.add_rows(2)
    cache.reserve(30)
    backbone(random_tokens(2, 9), cache=cache.all_rows(), lengths=[9, 2])
    cache.truncate(1, 0)
    read(backbone, cache, 1)
    states = backbone(random_tokens(3, 1), cache=cache.all_rows())
    assert states.isfinite().all()


def test_a_text_past_the_context_is_refused(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    read(backbone, cache, 64)
    with pytest.raises(InputTooLongError, match="65 tokens are more than the 64"):
        backbone(random_tokens(1, 1), cache=cache.all_rows())


def test_padding_may_reach_past_the_context(backbone: GPTBackbone) -> None:
    cache = KVCache(backbone.config)
    cache.add_rows(2)
    backbone(random_tokens(2, 60), cache=cache.all_rows(), lengths=[60, 5])
    states = backbone(random_tokens(2, 8), cache=cache.all_rows(), lengths=[4, 8])
    assert states.isfinite().all()
    assert [cache.length(row) for row in range(2)] == [64, 13]
