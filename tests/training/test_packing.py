"""Which lessons an update learns from, and their loss when they are read together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_training import toy_lessons

from gptapps.decoding.language_model import LanguageModel
from gptapps.heads.language_model import LanguageModelHead
from gptapps.training.lessons import Lesson
from gptapps.training.loss import TargetLoss
from gptapps.training.packing import Schedule, pack

ids = st.lists(st.integers(0, 999), min_size=1, max_size=12).map(tuple)
lists = st.lists(st.builds(Lesson, ids, ids, st.sampled_from([1.0, 0.5])), min_size=1, max_size=6)


@st.composite
def some_lessons(draw: st.DrawFn) -> list[Lesson]:
    """Lessons with or without a common beginning."""
    opening = tuple(range(100, 100 + draw(st.sampled_from([0, 7, 8, 20]))))
    return [Lesson((*opening, *one.prompt), one.target, one.weight) for one in draw(lists)]


@given(
    count=st.integers(1, 30),
    batch_size=st.integers(1, 12),
    max_tokens=st.integers(1, 40),
    processes=st.integers(1, 3),
    seed=st.integers(0, 3),
)
def test_every_epoch_learns_every_lesson_once(
    count: int, batch_size: int, max_tokens: int, processes: int, seed: int
) -> None:
    lessons = toy_lessons(count)
    schedule = Schedule(
        lessons,
        batch_size=batch_size,
        max_tokens=max_tokens,
        epochs=2,
        seed=seed,
        packed=pack,
        processes=processes,
    )
    for epoch in range(2):
        read = []
        for update in range(schedule.updates_per_epoch):
            number = epoch * schedule.updates_per_epoch + update
            packs = [one for process in range(processes) for one in schedule.packs(number, process)]
            assert sum(len(one.texts) for one in packs) == len(schedule.lessons_of(number)) <= batch_size
            assert all(len(one.tokens) <= max_tokens or len(one.texts) == 1 for one in packs)
            read += [text.tolist() for one in packs for text in one.tokens.split(one.texts)]
        expected = [[*lesson.prompt, *lesson.target[:-1]] for lesson in lessons]
        assert sorted(read) == sorted(expected)


def test_epochs_have_orders_of_their_own_that_the_seed_repeats() -> None:
    def order(seed: int) -> list[list[Lesson]]:
        schedule = Schedule(toy_lessons(), batch_size=20, max_tokens=100, epochs=2, seed=seed, packed=pack)
        return [schedule.lessons_of(1), schedule.lessons_of(0)]

    second, first = order(0)
    assert first != second
    assert order(0) == [second, first]
    assert order(1) != [second, first]


@pytest.mark.usefixtures("light")
class TestLoss:
    """Of a tiny model."""

    @given(lessons=some_lessons(), share=st.booleans())
    def test_packed_is_separate(self, lessons: list[Lesson], share: bool, tiny_chat: LanguageModel) -> None:
        loss = loss_of(tiny_chat)
        with torch.no_grad():
            together = float(loss(pack(lessons, share_opening=share)))
            alone = sum(float(loss(pack([lesson]))) for lesson in lessons)
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-4)

    @given(lessons=some_lessons())
    def test_it_is_the_cross_entropy_of_the_targets(self, lessons: list[Lesson], tiny_chat: LanguageModel) -> None:
        expected = 0.0
        with torch.no_grad():
            for lesson in lessons:
                whole = torch.tensor([*lesson.prompt, *lesson.target])
                logits = tiny_chat.head(tiny_chat.backbone(whole[:-1].unsqueeze(0))).squeeze(0)
                each = torch.nn.functional.cross_entropy(logits, whole[1:], reduction="none")
                expected += lesson.weight * float(each[-len(lesson.target) :].sum())
            assert float(loss_of(tiny_chat)(pack(lessons))) == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_what_lessons_begin_with_stands_once() -> None:
    opening = tuple(range(10))
    lessons = [Lesson((*opening, 50), (60,)), Lesson(opening, (50, 61)), Lesson((*opening, 51), (62,))]
    packed = pack(lessons, share_opening=True)
    assert packed.tokens.tolist() == [*opening, 50, 50, 51]
    assert packed.opening == 10
    assert packed.places.tolist() == [10, 9, 11, 12]


def loss_of(model: LanguageModel) -> TargetLoss:
    assert isinstance(model.head, LanguageModelHead)
    return TargetLoss(model.backbone, model.head).eval()
