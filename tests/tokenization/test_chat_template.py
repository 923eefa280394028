"""Chat templates render as transformers renders them, and fail in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from gptapps.errors import DataError, UnsupportedModelError
from gptapps.tokenization.chat_template import ChatTemplate
from gptapps.tokenization.tokenizer import Tokenizer

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}

LIKE_LLAMA3 = """\
{%- set loop_messages = messages %}
{%- for message in loop_messages %}
    {%- set content = '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' %}
    {%- if loop.index0 == 0 %}
        {%- set content = bos_token + content %}
    {%- endif %}
    {{- content }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
"""

LIKE_QWEN = """\
{%- if tools %}
    {{- "# Tools\\n" + (tools | tojson) }}
{%- elif messages[0].role == 'system' %}
    {{- '<|turn|>system\\n' + messages[0].content + '<|over|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, seen=0) %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and ns.seen == 0 %}
        {%- set ns.seen = loop.index0 %}
        {%- set ns.last = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- if not loop.first %}{{- '[late ' + (message | tojson) + ']' }}{%- endif %}
        {%- continue %}
    {%- endif %}
    {{- '<|turn|>' + message.role + (' last' if loop.index0 == ns.last else '') + '\\n' }}
    {{- message.content.split('</think>')[-1].lstrip('\\n') + '<|over|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|turn|>assistant\\n' }}{%- endif %}
"""

LIKE_GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role here') }}{% endif %}
{% for message in messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Roles must alternate') }}
    {% endif %}
{{ '<turn>' + ('model' if message['role'] == 'assistant' else message['role']) }}
{{ message['content'] | trim + '<end>' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}
"""

LIKE_SMOLLM3 = """\
{% for message in messages %}
    {% if message.role == 'assistant' %}
        {% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}
    {% else %}
        {{ '[' ~ message.role ~ '] ' ~ message.content ~ ' ' ~ (message | tojson(indent=1)) }}
    {% endif %}
    {% if loop.index > 5 %}{% break %}{% endif %}
{% endfor %}
{{ documents is none }} {{ tools is none }} {{ undefined_name }}{{ dict(a=1).a }}
"""

CONVERSATIONS = [
    [{"role": "user", "content": 'Is <b>"5 & 6"</b> > 4? 是吗 🙂'}],
    [
        {"role": "user", "content": "  Hi\n"},
        {"role": "assistant", "content": "<think>Greeting.</think>\n\nHello."},
        {"role": "user", "content": "Bye"},
    ],
]
SYSTEM = {"role": "system", "content": "Answer in one word."}


@pytest.fixture(scope="module")
def oracle_directory(byte_level: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("oracle")
    byte_level.save(directory)
    return directory


def _rendered_by_transformers(directory: Path, template: str, messages: Any, *, prompt: bool) -> str:
    oracle = PreTrainedTokenizerFast.from_pretrained(directory, **VARIABLES, unk_token=None)
    text: str = oracle.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=prompt
    )
    return text


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("template", [LIKE_LLAMA3, LIKE_QWEN, LIKE_GEMMA, LIKE_SMOLLM3])
def test_as_transformers_renders(oracle_directory: Path, template: str, messages: Any, prompt: bool) -> None:
    text = ChatTemplate(template, VARIABLES, "model").render(messages, add_generation_prompt=prompt)
    assert text == _rendered_by_transformers(oracle_directory, template, messages, prompt=prompt)


@pytest.mark.parametrize("template", [LIKE_LLAMA3, LIKE_QWEN, LIKE_SMOLLM3])
def test_system_messages_as_transformers_renders(oracle_directory: Path, template: str) -> None:
    messages = [SYSTEM, *CONVERSATIONS[1], SYSTEM]
    chat = ChatTemplate(template, VARIABLES, "model")
    assert chat.supports_system_role
    assert chat.render(messages) == _rendered_by_transformers(oracle_directory, template, messages, prompt=True)


def test_the_date_is_todays(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ChatTemplate("{{ strftime_now('%Y') }}", {}, "model").render(CONVERSATIONS[0])
    assert len(text) == 4
    assert text.isdigit()


class TestSystemRole:
    def test_refused_it_goes_before_the_first_user_message(self) -> None:
        template = ChatTemplate(LIKE_GEMMA, VARIABLES, "model")
        folded = [{"role": "user", "content": "Answer in one word.\n\nHi"}]
        assert not template.supports_system_role
        assert template.render([SYSTEM, {"role": "user", "content": "Hi"}]) == template.render(folded)

    def test_dropped_it_goes_before_the_first_user_message(self) -> None:
        drops = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
        template = ChatTemplate(drops, {}, "model")
        assert not template.supports_system_role
        assert template.render([SYSTEM, {"role": "user", "content": "Hi"}]) == "Answer in one word.\n\nHi"

    def test_alone_it_is_a_user_message(self) -> None:
        template = ChatTemplate(LIKE_GEMMA, VARIABLES, "model")
        assert template.render([SYSTEM]) == template.render([{**SYSTEM, "role": "user"}])

    def test_the_callers_messages_stay_as_they_are(self) -> None:
        messages = [dict(SYSTEM), {"role": "user", "content": "Hi"}]
        ChatTemplate(LIKE_GEMMA, VARIABLES, "model").render(messages)
        assert messages == [SYSTEM, {"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in messages %}", "Unexpected end of template"),
        ("{{ raise_exception('Only in French') }}", "Only in French"),
        ("{{ messages[0].content + 1 }}", "can only concatenate"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe|not safely"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "[Rr]ange"),
    ],
)
def test_a_failing_template_is_one_sentence(source: str, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        ChatTemplate(source, {}, "models/parrot").render(CONVERSATIONS[0])
    assert "models/parrot" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "at least one message"),
        ([{"role": "user"}], "Message 1 has no 'content'"),
        ([{"role": "user", "content": "Hi"}, {"content": "Hi"}], "Message 2 has no 'role'"),
        ([{"role": "user", "content": 5}], "Message 1 has no 'content' that is a string"),
        (["Hi"], "Message 1 is a str"),
    ],
)
def test_messages_that_are_none(messages: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ChatTemplate(LIKE_LLAMA3, VARIABLES, "model").render(messages)
