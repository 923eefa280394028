"""Changed copies: words dropped and swapped, texts translated there and back, golds and contexts untouched."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.decoding.engine import Engine
from gptapps.errors import CapabilityError, OptionError
from gptapps.evaluation.selection import Item
from gptapps.examples import ClassificationExample, QuestionExample, ScoringExample
from gptapps.model_store import PACKAGED_MODELS
from gptapps.training.augmentation import augmented, translator, word_dropout, word_swap

ENGLISH = st.lists(st.text("abcdefg'-,.", min_size=1, max_size=6), min_size=2, max_size=30).map(" ".join)
CHINESE = st.text("雾停了渡轮明天再开票价不变", min_size=2, max_size=40)
TEXTS = ENGLISH | CHINESE | st.builds("{} {}".format, CHINESE, ENGLISH)
SEEDS = st.integers(0, 2**32)


def words(text: str) -> list[str]:
    return re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+", text)


def items_of(*texts: str) -> list[Item]:
    return [
        Item(place, None, f"a.csv:{place + 2}", ClassificationExample(text=text, label="weather"))
        for place, text in enumerate(texts)
    ]


@given(TEXTS, SEEDS)
def test_dropout_leaves_a_part_of_the_words_in_their_order(text: str, seed: int) -> None:
    left = iter(words(text))
    kept = words(word_dropout(text, random.Random(seed)))
    assert 0 < len(kept) < len(words(text))
    assert all(word in left for word in kept)


@given(TEXTS, SEEDS)
def test_swapping_keeps_every_word_and_every_space(text: str, seed: int) -> None:
    swapped = word_swap(text, random.Random(seed))
    assert Counter(words(swapped)) == Counter(words(text))
    assert [char.isspace() for char in swapped].count(True) == [char.isspace() for char in text].count(True)


def test_about_a_tenth_of_the_words_goes() -> None:
    text = " ".join(f"word{number}" for number in range(100))
    assert len(word_dropout(text, random.Random(1)).split()) == 90


@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from(["word_dropout", "word_swap"]), SEEDS)
def test_a_copy_depends_on_seed_and_example_alone(texts: list[str], way: str, seed: int) -> None:
    together = augmented(items_of(*texts), [way], seed=seed, copies=2)
    assert together == augmented(items_of(*texts), [way], seed=seed, copies=2)
    apart = [copy.example.text for text in texts for copy in augmented(items_of(text), [way], seed=seed, copies=2)[1:]]
    assert Counter(apart) == Counter(copy.example.text for copy in together[len(texts) :])


def test_originals_come_first_and_copies_keep_gold_and_place() -> None:
    items = items_of("The fog stopped the ferry to Osby.", "渡轮因为大雾今天停开一整天")
    made = augmented(items, ["word_dropout", "word_swap"], seed=4, copies=3)
    assert made[:2] == tuple(items)
    assert len(made) == 2 + 2 * 2 * 3
    assert {(copy.where, copy.example.label) for copy in made} == {("a.csv:2", "weather"), ("a.csv:3", "weather")}
    assert len({copy.example.text for copy in made}) > 8
    assert augmented(items, ["word_swap"], seed=5) != augmented(items, ["word_swap"], seed=4)


def test_a_text_of_one_word_has_no_copies() -> None:
    assert len(augmented(items_of("Fog"), ["word_dropout", "word_swap"], seed=0)) == 1


def test_only_the_question_changes_so_that_the_answer_stays_in_its_context() -> None:
    example = QuestionExample(question="when does the ferry run", context="It runs on Tuesday.", answers=("Tuesday",))
    _, copy = augmented([Item(0, None, "a:1", example)], ["word_dropout"], seed=0)
    assert copy.example.context == example.context
    assert len(copy.example.question.split()) == 4


def test_a_pair_changes_in_both_texts() -> None:
    example = ClassificationExample(text="the fog came", text_pair="the fog went", label="no")
    _, copy = augmented([Item(0, None, "a:1", example)], ["word_dropout"], seed=0)
    assert (len(copy.example.text.split()), len(copy.example.text_pair.split())) == (2, 2)


def test_back_translation_goes_through_another_language_and_home() -> None:
    asked: list[tuple[list[str], str, str]] = []

    def translate(texts: Sequence[str], source: str, target: str) -> list[str]:
        asked.append((list(texts), source, target))
        return [f"{text}>{target}" for text in texts]

    made = augmented(items_of("Fog again", "又有雾了", "Rain"), ["back_translation"], seed=0, translate=translate)
    assert [copy.example.text for copy in made[3:]] == ["Fog again>fr>en", "又有雾了>en>zh", "Rain>fr>en"]
    assert [(source, target) for _, source, target in asked] == [("en", "fr"), ("fr", "en"), ("zh", "en"), ("en", "zh")]
    assert asked[0][0] == ["Fog again", "Rain"]


def test_a_translation_that_came_to_nothing_or_to_the_same_makes_no_copy() -> None:
    items = items_of("Fog again", "Rain")
    assert augmented(items, ["back_translation"], seed=0, translate=lambda texts, *_: list(texts)) == tuple(items)
    assert augmented(items, ["back_translation"], seed=0, translate=lambda texts, *_: [" "] * len(texts)) == tuple(
        items
    )


def test_a_text_that_came_to_nothing_abroad_is_not_sent_home() -> None:
    asked: list[list[str]] = []

    def translate(texts: Sequence[str], source: str, target: str) -> list[str]:
        asked.append(list(texts))
        return ["" if text == "Fog again" else f"{text}>{target}" for text in texts]

    made = augmented(items_of("Fog again", "Rain"), ["back_translation"], seed=0, translate=translate)
    assert [copy.example.text for copy in made[2:]] == ["Rain>fr>en"]
    assert asked == [["Fog again", "Rain"], ["Rain>fr"]]


@pytest.mark.usefixtures("gemma_gguf")
def test_a_real_model_translates_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    translate, identity = translator("gemma-3-270m")
    assert identity == {"sha256": PACKAGED_MODELS["gemma-3-270m"].sha256, "of": "file"}
    texts = ["The soup was cold and nobody came to ask.", "Fog"]
    made = augmented(items_of(*texts), ["back_translation"], seed=0, translate=translate)
    assert "soup" in made[2].example.text
    assert {copy.example.label for copy in made} == {"weather"}
    monkeypatch.setattr(Engine, "complete_unordered", None)  # what was translated once isn't translated again
    assert augmented(items_of(*texts), ["back_translation"], seed=1, translate=translate) == made


def test_a_model_that_cannot_translate_is_refused() -> None:
    with pytest.raises(CapabilityError, match="not able to do 'translate'"):
        translator("smollm2-135m-instruct")


@pytest.mark.parametrize(
    ("ways", "options", "message"),
    [
        (["word_drop"], {}, "Did you mean 'word_dropout'"),
        (["word_swap"], {"copies": 0}, "copies is 0"),
        (["back_translation"], {}, "needs a model that can translate"),
    ],
)
def test_what_makes_no_sense_is_refused(ways: list[str], options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        augmented(items_of("Fog again"), ways, seed=0, **options)  # type: ignore[arg-type]


def test_a_text_that_is_learned_itself_is_not_changed() -> None:
    with pytest.raises(OptionError, match="leave augmentation out"):
        augmented([Item(0, None, "a:1", ScoringExample(text="Fog again"))], ["word_swap"], seed=0)
