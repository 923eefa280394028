"""Choices are scored as if each stood alone behind the question, and what can't be chosen from is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_language_model import one_thread, write_tiny_model
from transformers import AutoModelForCausalLM

from gptapps import Choice, ChoiceExample, pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError, InputTooLongError, OptionError
from gptapps.task_catalog import resolve_task

WORDS = st.lists(
    st.sampled_from(["red", "a hill", "two", "The sea", "dry", "of it", "Mars.", "水", "very"]), min_size=1, max_size=4
).map(" ".join)
QUESTIONS = st.builds(
    ChoiceExample,
    question=WORDS,
    choices=st.lists(WORDS, min_size=2, max_size=5, unique=True).map(tuple),
    context=st.none() | WORDS,
    language=st.sampled_from(["en", "zh"]),
)
PLANETS = {"question": "Which planet is called red?", "choices": ["Venus", "Mars", "Saturn"]}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> Path:
    """A tiny random model with room for 256 tokens."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer, context_length=256, chat=False)


@pytest.fixture(scope="module")
def choose(folder: Path) -> Any:
    """The task on the tiny model."""
    return pipeline("choose", model=str(folder), device="cpu", shots=[])


def prompt_of(example: ChoiceExample) -> tuple[str, str]:
    """Return the prompt and what stands between it and a choice."""
    before = f"{example.context}\n" if example.context else ""
    if example.language == "zh":
        return f"{before}问题：{example.question}\n答案：", ""
    return f"{before}Question: {example.question}\nAnswer:", " "


@contextmanager
def tokens_read(model: LanguageModel) -> Iterator[list[int]]:
    """Collect the tokens that go through the model while the block runs."""
    read: list[int] = []
    embedding = model.backbone.token_embedding
    hook = embedding.register_forward_pre_hook(lambda _, given: read.extend(given[0].flatten().tolist()))
    try:
        yield read
    finally:
        hook.remove()


def independent(model: LanguageModel, prompt: str, continuation: str) -> float:
    """Score a continuation by one forward pass over the whole text."""
    text, whole = (model.tokenizer.encode(one) for one in (prompt, prompt + continuation))
    with torch.inference_mode():
        scores = model.logits(model.read([whole[:-1]])[0]).log_softmax(-1)
    return math.fsum(float(scores[place - 1, whole[place]]) for place in range(len(text), len(whole)))


@settings(max_examples=15)
@given(st.lists(QUESTIONS, min_size=1, max_size=4), st.integers(1, 3))
def test_every_choice_is_scored_as_if_it_stood_alone(
    folder: Path, choose: Any, examples: list[ChoiceExample], batch_size: int
) -> None:
    outputs = pipeline("choose", model=choose.model, shots=[], batch_size=batch_size)(examples)
    for example, output in zip(examples, outputs, strict=True):
        prompt, space = prompt_of(example)
        expected = [independent(choose.model, prompt, space + choice) for choice in example.choices]
        assert list(output.log_likelihoods) == list(example.choices)
        assert list(output.log_likelihoods.values()) == pytest.approx(expected, abs=1e-3, rel=1e-5)


def test_the_log_likelihoods_are_transformers_own(folder: Path, choose: Any) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer, found = choose.model.tokenizer, choose(PLANETS).log_likelihoods
    prompt = tokenizer.encode("Question: Which planet is called red?\nAnswer:")
    for choice in PLANETS["choices"]:
        ids = torch.tensor([[*prompt, *tokenizer.encode(f" {choice}", special_tokens=False)]])
        with torch.inference_mode():
            scores = reference(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[len(prompt) - 1 :]
        assert found[choice] == pytest.approx(float(scores.sum()), abs=1e-3)


@settings(max_examples=15)
@given(QUESTIONS, st.randoms(use_true_random=False))
def test_another_order_gives_the_same_scores(choose: Any, example: ChoiceExample, random: Any) -> None:
    shuffled = list(example.choices)
    random.shuffle(shuffled)
    one, other = choose(example), choose(example.model_copy(update={"choices": tuple(shuffled)}))
    assert other.text == one.text
    assert shuffled[other.index] == one.text == example.choices[one.index]
    assert other.scores == pytest.approx(one.scores, abs=1e-4)
    assert other.log_likelihoods == pytest.approx(one.log_likelihoods, abs=1e-3)


@pytest.mark.parametrize("normalize", ["none", "characters", "bytes", "tokens"])
@settings(max_examples=10)
@given(example=QUESTIONS)
def test_the_choice_is_the_best_after_normalization(choose: Any, normalize: Any, example: ChoiceExample) -> None:
    output = choose(example, normalize=normalize)
    tokenizer, space = choose.model.tokenizer, prompt_of(example)[1]
    sizes = {
        "none": lambda choice: 1,
        "characters": len,
        "bytes": lambda choice: len(choice.encode()),
        "tokens": lambda choice: len(tokenizer.encode(space + choice, special_tokens=False)),
    }
    divided = {choice: score / sizes[normalize](choice) for choice, score in output.log_likelihoods.items()}
    assert output.text == max(divided, key=divided.__getitem__)
    total = sum(math.exp(score) for score in divided.values())
    assert output.scores == pytest.approx({choice: math.exp(score) / total for choice, score in divided.items()})
    assert list(output.scores.values()) == sorted(output.scores.values(), reverse=True)
    assert (output.score, sum(output.scores.values())) == pytest.approx((max(output.scores.values()), 1))


def test_normalization_is_by_characters_unless_told_otherwise(choose: Any) -> None:
    assert choose(PLANETS) == choose(PLANETS, normalize="characters")
    assert choose(PLANETS).log_likelihoods == choose(PLANETS, normalize="none").log_likelihoods


def test_what_questions_have_in_common_is_read_once(choose: Any) -> None:
    tokenizer = choose.model.tokenizer
    shots = [{"question": f"What is the number {number}?", "answer": "It is one."} for number in range(8)]
    rows = [{"question": f"Is {number} odd?", "choices": ["Yes, it is.", "No, it isn't."]} for number in range(20)]
    with tokens_read(choose.model) as read:
        outputs = choose(rows, shots=shots)
    shared = len(tokenizer.encode("What is the number 0?")) * 8
    assert all(output.usage.input_tokens > shared for output in outputs)
    own = max(len(tokenizer.encode(f"Question: Is {number} odd?\nAnswer:")) for number in range(20))
    assert len(read) < outputs[0].usage.input_tokens + 20 * (own + outputs[0].usage.output_tokens)


def test_a_choice_that_grows_into_the_question_is_scored_as_the_tokens_it_makes(choose: Any) -> None:
    tokenizer = choose.model.tokenizer
    start, whole = choose.model.start_id, tokenizer.encode("water")
    assert len(whole) == 1
    output = choose(
        {"question": "wat", "choices": ["er", "t"], "language": "zh"}, prompt="{{ question }}", normalize="none"
    )
    with torch.inference_mode():
        scores = choose.model.logits(choose.model.read([[start]])[0]).log_softmax(-1)
    assert output.log_likelihoods["er"] == pytest.approx(float(scores[0, whole[0]]), abs=1e-3)


def test_choices_of_the_options_are_for_questions_without_any(folder: Path, choose: Any) -> None:
    ours = pipeline("choose", model=choose.model, choices=["yes", "no"], shots=[])
    assert set(ours("Is the sea salty?").scores) == {"yes", "no"}
    both = ours([ChoiceExample(question="Is the sea salty?"), ChoiceExample(**PLANETS)])
    assert [set(output.scores) for output in both] == [{"yes", "no"}, {"Venus", "Mars", "Saturn"}]
    assert ours("Is it?", choices=["perhaps", "never"]) == choose(
        {"question": "Is it?", "choices": ("perhaps", "never")}
    )


def test_an_answer_says_nothing_where_a_row_has_no_choices(choose: Any) -> None:
    row = {"question": "Is the sea salty?", "answer": 1}
    assert choose(row, choices=["no", "yes"]) == choose(row["question"], choices=["no", "yes"])


@pytest.mark.parametrize(
    "choices",
    [
        {"text": ["Venus", "Mars"], "label": ["A", "B"]},
        [{"text": "Venus", "label": "A"}, {"text": "Mars", "label": "B"}],
        ("Venus", "Mars"),
    ],
    ids=["hub", "original", "texts"],
)
def test_rows_of_data_sets_are_taken_as_they_are(choose: Any, choices: object) -> None:
    expected = choose(ChoiceExample(question="Which?", choices=("Venus", "Mars")))
    assert choose({"question": "Which?", "choices": choices, "answer": "Mars"}) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": ["Mars", "Venus", "Mars"]}, "The choice 'Mars' comes more than once"),
        ({"choices": ["Mars", " "]}, "A choice is empty"),
        ({"choices": ["Mars"]}, "needs two choices or more"),
        ({"choices": []}, "needs two choices or more"),
        ({"choices": None}, "needs two choices or more"),
        ({"choices": "Mars, Venus"}, "have to be a list of texts"),
        ({"choices": ["Mars", 4]}, "have to be a list of texts"),
        ({"choices": {"text": ["Mars"], "label": ["A", "B"]}}, "have to be a list of texts"),
        ({"answer": "Pluto"}, "The answer 'Pluto' is none of the choices"),
        ({"question": " "}, "The question of an input is empty"),
    ],
)
def test_a_question_that_cannot_be_answered_is_one_sentence(
    choose: Any, change: dict[str, object], message: str
) -> None:
    row = {name: value for name, value in {**PLANETS, **change}.items() if value is not None}
    with pytest.raises(DataError, match=message) as error:
        choose(row)
    assert str(error.value).count("\n") == 0
    assert str(error.value).endswith(".")


def test_options_that_make_no_sense_are_refused(choose: Any) -> None:
    with pytest.raises(OptionError, match="choices"):
        choose(PLANETS, choices="yes, no")
    with pytest.raises(OptionError, match="choices"):
        choose(PLANETS, choices=["yes"])
    with pytest.raises(OptionError, match=r"normalize .*'none', 'characters', 'bytes' or 'tokens'"):
        choose(PLANETS, normalize="words")
    with pytest.raises(DataError, match="more than once"):
        choose("Is it?", choices=["yes", "yes"])
    with pytest.raises(OptionError, match="no overflow='chunk'"):
        choose(PLANETS, overflow="chunk")


@pytest.mark.parametrize("field", ["question", "context"])
def test_a_text_that_does_not_fit_loses_what_matters_least(choose: Any, field: str) -> None:
    row = {**PLANETS, field: "First words. " + "More of it. " * 100 + "Last words"}
    with pytest.raises(InputTooLongError):
        choose(row, overflow="error")
    with tokens_read(choose.model) as read:
        usage = choose(row).usage
    text = choose.model.tokenizer.decode(read)
    assert usage.dropped_tokens > 0
    assert usage.input_tokens <= choose.model.context_length
    assert ("First words" in text) is (field == "context")
    assert ("Last words" in text) is (field == "question")
    assert ("called red?" in text) is (field == "context")


def test_a_context_of_the_question_is_not_one_of_the_shots(folder: Path) -> None:
    choose = pipeline("choose", model=str(folder), device="cpu")
    adapter = choose.adapter("en", {})
    text = adapter.render({"question": "When?", "context": "ZEBRA"}).text
    assert text.count("ZEBRA") == 1
    assert text.index("What do bees make?") < text.index("ZEBRA") < text.index("When?")


def test_the_samples_say_what_is_right() -> None:
    sample = Path(resolve_task("choose").origin).with_name("sample.jsonl")
    rows: Sequence[dict[str, Any]] = [json.loads(line) for line in sample.read_text("utf-8").splitlines()]
    assert all(row["answer"] in row["choices"] for row in rows)


def test_an_output_survives_json(choose: Any) -> None:
    output = choose(PLANETS)
    assert Choice.model_validate_json(output.model_dump_json()) == output
