"""An example becomes a chat or plain text, with what stands between prompt and answer made explicit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError, OptionError, TaskDefinitionError
from gptapps.prompts import Prompt, PromptAdapter
from gptapps.task_definition import TaskDefinition, load_task_definition


@dataclass
class FakeTokenizer:
    """Writes ``[role]content`` for each message and remembers the messages."""

    chat_template: str | None = "{{ messages }}"
    messages: list[Mapping[str, str]] = field(default_factory=list)

    def render_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        self.messages = list(messages)
        text = "".join(f"[{message['role']}]{message['content']}" for message in messages)
        return text + "[assistant]" if add_generation_prompt else text


LETTERS = """
schema_version = 1
pipeline = "classification"
summary = "Sorts letters"
labels = ["bill", "love"]

[label_words.zh]
bill = "账单"
love = "情书"

[prompts.en]
system = "You sort {{ labels | length }} kinds."
user = "Sort: {{ text }}{% if text_pair %} + {{ text_pair }}{% endif %}"
answer_start = "It is"
preamble = "Letters."
plain = "{{ text }}{% if text_pair %} + {{ text_pair }}{% endif %} ->"
stop = ["\\n"]
chat_stop = ["!"]

[prompts.zh]
user = "{{ labels | join('或') }}：{{ text }}"
answer_prefix = ""

[[shots]]
language = "en"
text = "Pay!"
label = "bill"

[[shots]]
language = "zh"
text = "想你"
label = "love"
"""
TRANSLATE = """
schema_version = 1
pipeline = "translation"
summary = "Translates"

[prompts.en]
plain = "{{ source }} ({{ source_code }}): {{ text }}\\n{{ target }} ({{ target_code }}):"

[prompts.zh]
plain = "{{ source }}：{{ text }}\\n{{ target }}："
answer_prefix = ""

[[shots]]
en = "Yes."
fr = "Oui."

[[shots]]
en = "No."
zh = "不。"
"""
LABELS = ["bill", "love"]
CHAT, PLAIN = FakeTokenizer(), FakeTokenizer(chat_template=None)


@pytest.fixture
def letters(tmp_path: Path) -> TaskDefinition:
    return load(tmp_path, LETTERS)


@pytest.fixture
def translate(tmp_path: Path) -> TaskDefinition:
    return load(tmp_path, TRANSLATE)


def load(folder: Path, content: str) -> TaskDefinition:
    (folder / "task.toml").write_text(content, encoding="utf-8")
    return load_task_definition(folder / "task.toml")


def test_a_chat_model_gets_a_conversation_without_shots(letters: TaskDefinition) -> None:
    prompt = PromptAdapter(letters, CHAT).render({"text": "Hi", "labels": LABELS})
    assert prompt == Prompt(
        text="[system]You sort 2 kinds.[user]Sort: Hi[assistant]It is",
        special_tokens=False,
        answer_prefix=" ",
        stop=("!",),
    )


def test_a_base_model_gets_preamble_shots_and_text(letters: TaskDefinition) -> None:
    prompt = PromptAdapter(letters, PLAIN).render({"text": "Hi", "labels": LABELS})
    assert prompt == Prompt("Letters.\n\nPay! -> bill\n\nHi ->", special_tokens=True, answer_prefix=" ", stop=("\n",))


def test_nothing_stands_between_a_chat_header_and_the_answer(letters: TaskDefinition) -> None:
    prompt = PromptAdapter(letters, CHAT, prompt="Kind of {{ text }}?").render({"text": "Hi", "labels": LABELS})
    assert prompt.text.endswith("[user]Kind of Hi?[assistant]")
    assert prompt.answer_prefix == ""


def test_content_free_prompts_replace_both_texts_of_a_pair(tmp_path: Path) -> None:
    definition = load(tmp_path, LETTERS.replace("labels =", 'content_free = ["", "..."]\nlabels =', 1))
    adapter = PromptAdapter(definition, PLAIN, shots=())
    prompts = adapter.render_content_free({"text": "Hi", "text_pair": "Ho", "labels": LABELS})
    assert [prompt.text for prompt in prompts] == ["Letters.\n\n ->", "Letters.\n\n... + ... ->"]
    alone = adapter.render_content_free({"text": "Hi", "labels": LABELS})
    assert alone[1] == adapter.render({"text": "...", "labels": LABELS})


def test_without_content_free_texts_there_are_no_such_prompts(letters: TaskDefinition) -> None:
    assert PromptAdapter(letters, PLAIN).render_content_free({"text": "Hi", "labels": LABELS}) == ()


def test_labels_are_worded_in_the_prompts_language(letters: TaskDefinition) -> None:
    adapter = PromptAdapter(letters, CHAT, language="zh")
    assert adapter.render({"text": "Hi", "labels": LABELS}).text == "[user]账单或情书：Hi[assistant]"
    assert adapter.wording("love") == "情书"


def test_without_a_plain_prompt_a_base_model_gets_the_user_text(letters: TaskDefinition) -> None:
    prompt = PromptAdapter(letters, PLAIN, language="zh").render({"text": "Hi", "labels": LABELS})
    assert prompt.text == "账单或情书：想你情书\n\n账单或情书：Hi"
    assert prompt.special_tokens


def test_without_a_user_prompt_a_chat_model_gets_plain_text(translate: TaskDefinition) -> None:
    prompt = PromptAdapter(translate, CHAT, shots=()).render({"text": "Hi", "source": "en", "target": "fr"})
    assert (prompt.text, prompt.special_tokens) == ("English (en): Hi\nFrench (fr):", True)


def test_shots_on_request_are_turns_of_the_chat(letters: TaskDefinition) -> None:
    tokenizer = FakeTokenizer()
    shots = [{"text": "Love you", "label": "love"}]
    PromptAdapter(letters, tokenizer, shots=shots).render({"text": "Hi", "labels": LABELS})
    assert [message["role"] for message in tokenizer.messages] == ["system", "user", "assistant", "user"]
    assert tokenizer.messages[2]["content"] == "It is love"


def test_a_pair_does_not_leak_into_the_shots(letters: TaskDefinition) -> None:
    prompt = PromptAdapter(letters, PLAIN).render({"text": "Hi", "text_pair": "Ho", "labels": LABELS})
    assert prompt.text == "Letters.\n\nPay! -> bill\n\nHi + Ho ->"


@pytest.mark.parametrize(
    ("language", "target", "expected"),
    [
        ("en", "fr", "English (en): Yes.\nFrench (fr): Oui.\n\nEnglish (en): Hi\nFrench (fr):"),
        ("zh", "zh", "英语：No.\n中文：不。\n\n英语：Hi\n中文："),
        ("zh", "de", "英语：Hi\n德语："),
    ],
)
def test_a_translation_shows_the_shots_of_its_pair(
    translate: TaskDefinition, language: str, target: str, expected: str
) -> None:
    adapter = PromptAdapter(translate, PLAIN, language=language)
    assert adapter.render({"text": "Hi", "source": "en", "target": target}).text == expected


@pytest.mark.parametrize(("system", "expected"), [("Be {{ text }}.", "[system]Be Hi.[user]"), ("", "[user]")])
def test_the_system_message_can_be_replaced_or_removed(letters: TaskDefinition, system: str, expected: str) -> None:
    prompt = PromptAdapter(letters, CHAT, system=system).render({"text": "Hi", "labels": LABELS})
    assert prompt.text.startswith(expected)


def test_in_plain_text_the_system_option_is_the_preamble(letters: TaskDefinition) -> None:
    adapter = PromptAdapter(letters, PLAIN, system="Sort.", shots=())
    assert adapter.render({"text": "Hi", "labels": LABELS}).text == "Sort.\n\nHi ->"


@pytest.mark.parametrize(
    ("template", "prefix"), [("{{ text }}:", " "), ("{{ text }}: ", ""), ("{{ text }}:\n", " "), ("{{ text }}\n\n", "")]
)
def test_a_template_that_ends_in_space_brings_the_prefix_itself(
    letters: TaskDefinition, template: str, prefix: str
) -> None:
    prompt = PromptAdapter(letters, PLAIN, prompt=template).render({"text": "Hi", "labels": LABELS})
    assert prompt.answer_prefix == prefix
    assert prompt.text[-1].isspace() == (not prefix)


@given(text=st.text(), pair=st.none() | st.text(min_size=1))
def test_the_text_stands_whole_in_either_style(
    tmp_path_factory: pytest.TempPathFactory, text: str, pair: str | None
) -> None:
    definition = load(tmp_path_factory.mktemp("law"), LETTERS)
    for tokenizer in (CHAT, PLAIN):
        prompt = PromptAdapter(definition, tokenizer).render({"text": text, "text_pair": pair, "labels": LABELS})
        assert text in prompt.text
        assert (pair or "") in prompt.text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"labels": LABELS}, "needs the field 'text'"),
        ({"text": "Hi"}, "needs the field 'labels'"),
        ({"text": "Hi", "labels": LABELS, "test_pair": "Ho"}, "no field 'test_pair'. Did you mean 'text_pair'"),
    ],
)
def test_fields_that_do_not_fit_are_named(letters: TaskDefinition, fields: Mapping[str, object], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        PromptAdapter(letters, CHAT).render(fields)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"language": "fr"}, "no prompts in the language 'fr'.* It has: en, zh"),
        ({"prompt": "{{ txt }}"}, "option 'prompt' names the unknown variable 'txt'. Did you mean 'text'"),
        ({"prompt": "Hello"}, "option 'prompt' never names 'text'"),
        ({"system": "{{ mood }}"}, "option 'system' names the unknown variable 'mood'"),
        ({"shots": [{"text": "a"}]}, "Shot 1 has no 'label'"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_runs(
    letters: TaskDefinition, options: dict[str, str], expected: str
) -> None:
    with pytest.raises(OptionError, match=expected):
        PromptAdapter(letters, CHAT, **options)  # type: ignore[arg-type]


def test_shots_may_have_labels_of_the_callers(letters: TaskDefinition) -> None:
    adapter = PromptAdapter(letters, CHAT, shots=[{"text": "a", "label": "ad"}])
    assert "ad" in adapter.render({"text": "b", "labels": ["ad", "news"]}).text
    with pytest.raises(OptionError, match="Shot 1 has the label 'ad', which is not among the labels"):
        adapter.render({"text": "b", "labels": ["bill", "love"]})


def test_a_shots_label_has_to_be_among_the_callers(letters: TaskDefinition) -> None:
    adapter = PromptAdapter(letters, CHAT, shots=[{"text": "a", "label": "love"}])
    with pytest.raises(OptionError, match="Shot 1 has the label 'love', which is not among the labels: bill, spam"):
        adapter.render({"text": "Hi", "labels": ["bill", "spam"]})


def test_a_given_shot_has_to_hold_both_languages(translate: TaskDefinition) -> None:
    adapter = PromptAdapter(translate, PLAIN, shots=[{"en": "Yes.", "fr": "Oui."}])
    with pytest.raises(OptionError, match="Shot 1 has no sentence in 'de'"):
        adapter.render({"text": "Hi", "source": "en", "target": "de"})


def test_a_language_nobody_named_is_refused(translate: TaskDefinition) -> None:
    with pytest.raises(OptionError, match=r"no language with the code 'fra'\. Did you mean 'fr'"):
        PromptAdapter(translate, PLAIN).render({"text": "Hi", "source": "en", "target": "fra"})


def test_a_template_that_fails_names_its_file(tmp_path: Path) -> None:
    definition = load(tmp_path, LETTERS.replace("You sort {{ labels | length }} kinds.", "{{ text + 1 }}"))
    with pytest.raises(TaskDefinitionError, match=r"prompts\.en\.system of .*task\.toml can't be filled in"):
        PromptAdapter(definition, CHAT).render({"text": "Hi", "labels": LABELS})


def test_an_option_that_fails_is_not_the_definitions_mistake(letters: TaskDefinition) -> None:
    adapter = PromptAdapter(letters, CHAT, prompt="{{ text + 1 }}")
    with pytest.raises(OptionError, match="The template given as the option 'prompt' can't be filled in"):
        adapter.render({"text": "Hi", "labels": LABELS})
