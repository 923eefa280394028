"""Answers that need no model."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import OptionError
from gptapps.evaluation.baselines import Judged, baseline_outputs, leading_sentences, scored_by
from gptapps.evaluation.evaluators import (
    AnswerEvaluator,
    ChoiceEvaluator,
    ClassificationEvaluator,
    ScoringEvaluator,
    SummarizationEvaluator,
    TranslationEvaluator,
)
from gptapps.examples import (
    ChoiceExample,
    ClassificationExample,
    QuestionExample,
    ScoringExample,
    SummarizationExample,
    TranslationExample,
)
from gptapps.metrics.choices import AccuracyNorm
from gptapps.registry import METRICS

TEXTS = st.text(min_size=1).filter(lambda text: text.strip() != "")
CONTEXT = "The bridge at Ullin Falls was built in 1910. Martha of the North Shore paid for it. It cost a lot."


def judged(examples: list[Any], golds: list[Any] | None = None, labels: tuple[str, ...] = (), **options: Any) -> Judged:
    return Judged(examples, golds or [()] * len(examples), labels, options)


def answer(name: str, question: str, context: str) -> Any:
    (one,) = baseline_outputs(name, AnswerEvaluator(), judged([QuestionExample(question=question, context=context)]))
    return one


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("It rained. We left.", 1, "It rained."),
        ("It rained. We left.", 3, "It rained. We left."),
        ("Dr. Lind came at 3.30 p.m. She left.", 1, "Dr. Lind came at 3.30 p.m."),
        ('"Stop!" he said. Nobody did.', 1, '"Stop!"'),
        ("下雨了。我们走了！", 1, "下雨了。"),
        ("他说：“下雨了。”我们走了。", 1, "他说：“下雨了。”"),
        ("A: Hello\nB: Hi there. Fine?\nA: Yes", 2, "A: Hello\nB: Hi there."),
        ("no end at all", 1, "no end at all"),
    ],
)
def test_leading_sentences(text: str, count: int, expected: str) -> None:
    assert leading_sentences(text, count) == expected


@given(TEXTS, st.integers(1, 4))
def test_leading_sentences_begin_the_text_and_grow(text: str, count: int) -> None:
    lead = leading_sentences(text, count)
    assert lead
    assert text.strip().startswith(lead)
    assert leading_sentences(text, count + 1).startswith(lead)


def test_the_majority_label_is_what_most_examples_have() -> None:
    golds = ["b", "a", "b", "c", "b"]
    examples = [ClassificationExample(text=str(number)) for number in range(5)]
    outputs = baseline_outputs("majority_label", ClassificationEvaluator(), judged(examples, golds, ("a", "b", "c")))
    assert {output.label for output in outputs} == {"b"}
    assert outputs[0].scores == {"b": 0.6, "a": 0.2, "c": 0.2}
    assert METRICS.get("accuracy")([output.label for output in outputs], golds).value == 0.6


def test_the_first_of_equal_labels_wins() -> None:
    examples = [ClassificationExample(text="x"), ClassificationExample(text="y")]
    outputs = baseline_outputs("majority_label", ClassificationEvaluator(), judged(examples, ["b", "a"], ("a", "b")))
    assert outputs[0].label == "a"


def test_the_first_choice_and_the_longest() -> None:
    evaluator = ChoiceEvaluator()
    examples = [
        ChoiceExample(question="Which?", choices=("a", "abc", "xyz"), answer="a"),
        ChoiceExample(question="Which?", choices=("four", "two"), answer="two"),
    ]
    golds = [evaluator.gold(example) for example in examples]
    first, longest = (
        baseline_outputs(name, evaluator, judged(examples, golds)) for name in ("first_choice", "longest_choice")
    )
    assert [(output.index, output.text) for output in first] == [(0, "a"), (0, "four")]
    assert [(output.index, output.text) for output in longest] == [(1, "abc"), (0, "four")]
    log_loss = METRICS.get("log_loss")
    shares = [evaluator.prediction(log_loss, output) for output in first]
    assert log_loss(shares, golds).value == pytest.approx((math.log(3) + math.log(2)) / 2)
    assert [evaluator.prediction(AccuracyNorm(), output) for output in longest] == ["abc", "four"]
    assert not scored_by("longest_choice", "log_loss")
    assert scored_by("longest_choice", "accuracy_norm")


def test_lead_takes_one_sentence_or_three() -> None:
    examples = [SummarizationExample(text="One. Two. Three. Four.")]
    lead_1, lead_3 = (baseline_outputs(f"lead_{n}", SummarizationEvaluator(), judged(examples))[0].text for n in (1, 3))
    assert (lead_1, lead_3) == ("One.", "One. Two. Three.")


def test_the_source_is_copied() -> None:
    examples = [TranslationExample(text="Good morning.", target="fr")]
    (one,) = baseline_outputs("copy_source", TranslationEvaluator(), judged(examples, source="en"))
    assert (one.text, one.source, one.target) == ("Good morning.", "en", "fr")


@pytest.mark.parametrize(
    ("question", "context", "expected"),
    [
        ("Who paid for the bridge?", CONTEXT, "Martha of the North Shore"),
        ("What did Martha of the North Shore pay for?", CONTEXT, "Ullin Falls"),
        ("谁写了这本书？", "21年出版的《河边的钟》由林先生写成，很快卖完。", "河边的钟"),
        (
            "谁写了《河边的钟》？",
            "《河边的钟》由林先生和他的姐姐写成，很快卖完。",
            "《河边的钟》由林先生和他的姐姐写成",
        ),
        ("what?", "nothing here has a name, only words", "nothing here has a name"),
    ],
)
def test_the_longest_name_that_the_question_doesnt_hold(question: str, context: str, expected: str) -> None:
    assert answer("longest_name", question, context).text == expected


def test_the_sentence_nearest_to_the_question() -> None:
    assert answer("nearest_sentence", "Who paid for it?", CONTEXT).text == "Martha of the North Shore paid for it."
    chinese = "图书馆早上八点开门。晚上十点关门。"
    assert answer("nearest_sentence", "图书馆晚上几点关门？", chinese).text in (
        "晚上十点关门。",
        "图书馆早上八点开门。",
    )


@given(TEXTS, TEXTS)
@pytest.mark.parametrize("name", ["longest_name", "nearest_sentence"])
def test_an_answer_stands_where_it_says(name: str, question: str, context: str) -> None:
    one = answer(name, question, context)
    assert context[one.start : one.end] == one.text


def test_compression_counts_bits() -> None:
    examples = [ScoringExample(text="ab" * 2000), ScoringExample(text="x")]
    repeated, short = baseline_outputs("compression", ScoringEvaluator(), judged(examples))
    assert repeated.bits_per_byte < 0.2
    assert short.bits_per_byte >= 8
    assert METRICS.get("bits_per_byte")([repeated], [None]).value == pytest.approx(repeated.bits_per_byte)


def test_a_baseline_of_another_family_is_refused() -> None:
    with pytest.raises(OptionError, match=r"no baseline 'lead1' for this task. Did you mean 'lead_1'"):
        baseline_outputs("lead1", SummarizationEvaluator(), judged([]))
    with pytest.raises(OptionError, match="It has: copy_source"):
        baseline_outputs("lead_1", TranslationEvaluator(), judged([]))
