"""What is done out of turn finds its place: parts their whole, results their order, and takes no more than it may."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.decoding.intake import LookAhead
from gptapps.decoding.ordering import gathered, in_order


@given(st.permutations(range(12)))
def test_results_come_in_order_each_as_early_as_it_can(order: list[int]) -> None:
    arrived: list[int] = []

    def finished() -> Iterator[tuple[int, int]]:
        for number in order:
            arrived.append(number)
            yield number, number

    for expected, number in enumerate(in_order(finished())):
        assert number == expected
        assert len(arrived) == 1 + max(order.index(one) for one in range(number + 1))
    assert len(arrived) == len(order)


def test_a_result_that_never_came_is_missed() -> None:
    results = in_order([(0, "a"), (2, "c")])
    assert next(results) == "a"
    with pytest.raises(ValueError, match="result 1 never came"):
        next(results)


@pytest.mark.parametrize("numbers", [(0, 0), (1, 1, 0)])
def test_a_result_that_comes_twice_is_told(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="comes twice"):
        list(in_order((number, "a") for number in numbers))


def test_a_whole_without_parts_is_told() -> None:
    with pytest.raises(ValueError, match="whole 1 has no parts"):
        list(gathered(["a", ""], str.split, enumerate))


@given(st.lists(st.integers(1, 4), max_size=6), st.randoms(use_true_random=False), st.integers(1, 5))
def test_a_whole_is_there_with_the_last_of_its_parts(sizes: list[int], source: random.Random, ahead: int) -> None:
    wholes = [[(number, place) for place in range(size)] for number, size in enumerate(sizes)]
    done: list[tuple[int, int]] = []

    def work(parts: Iterator[tuple[int, int]]) -> Iterator[tuple[int, tuple[int, int]]]:
        window = LookAhead(parts, ahead)
        waiting: list[tuple[int, tuple[int, int]]] = []
        while True:
            waiting += window.take()
            if not waiting:
                return
            number, part = waiting.pop(source.randrange(len(waiting)))
            done.append(part)
            window.finish(number)
            yield number, part

    seen = []
    for number, whole, found in gathered(wholes, lambda whole: whole, work):
        assert whole == found == wholes[number]
        assert done[-1] in whole
        assert set(whole) <= set(done)
        seen.append(number)
    assert sorted(seen) == list(range(len(sizes)))


@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_no_more_is_taken_than_may_be(most: int, source: random.Random) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            yield taken
            taken += 1

    window = LookAhead(endless(), most)
    waiting: list[int] = []
    done: set[int] = set()
    for _ in range(40):
        for number, item in window.take():
            assert number == item
            waiting.append(number)
        first = next(number for number in range(100) if number not in done)
        assert max([*waiting, *done]) == first + most - 1
        number = waiting.pop(source.randrange(len(waiting)))
        done.add(number)
        window.finish(number)
