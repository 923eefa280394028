"""Chat templates: messages to the text a chat model was trained on.

A template is somebody else's jinja2 program. It runs in a sandbox with the globals, filters and whitespace
rules that transformers gives it, and any failure in it becomes one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from gptapps.errors import DataError, UnsupportedModelError

if TYPE_CHECKING:
    import jinja2

Messages = Sequence[Mapping[str, str]]

_PROBE = "Probe of the system role."


class ChatTemplate:
    """One model's chat template.

    Args:
        source: the jinja2 program.
        variables: what it sees besides the messages, such as ``{"bos_token": "<bos>"}``.
        where: the directory or file it was read from, for messages.

    Example:
        >>> template = ChatTemplate("{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}", {}, "-")
        >>> template.render([{"role": "user", "content": "Hi"}])
        'user: Hi\\n'
    """

    def __init__(self, source: str, variables: Mapping[str, str], where: str) -> None:
        self.source = source
        self._variables = dict(variables)
        self._where = where

    @cached_property
    def supports_system_role(self) -> bool:
        """Whether a system message before a user message is accepted and shows up in the text."""
        probe = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "Hi"}]
        try:
            return _PROBE in self._render(probe, add_generation_prompt=True)
        except UnsupportedModelError:
            return False

    def render(self, messages: Messages, *, add_generation_prompt: bool = True) -> str:
        """Return the text of a conversation, special tokens included.

        A template that refuses or drops the system role (Gemma's, for one) gets the system text in front of the
        first user message, with an empty line between the two.

        Args:
            messages: each with a ``role`` and a ``content``.
            add_generation_prompt: end with the header of the assistant's turn.

        Raises:
            DataError: no messages, or one without role or content.
            UnsupportedModelError: the template is broken, or refuses these messages.
        """
        checked = [_checked(message, number) for number, message in enumerate(messages, start=1)]
        if not checked:
            raise DataError("A conversation needs at least one message, and there is none.")
        if checked[0]["role"] == "system" and not self.supports_system_role:
            checked = _fold_system(checked)
        return self._render(checked, add_generation_prompt=add_generation_prompt)

    @cached_property
    def _template(self) -> jinja2.Template:
        return _environment().from_string(self.source)

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._variables,
            )
        # The template is a program from outside: whatever it raises is its failure, not a bug of ours.
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise UnsupportedModelError(
                f"The chat template of {self._where} fails on this conversation ({reason}): "
                "give the model a plain prompt instead, or mend its template."
            ) from error


def _checked(message: Mapping[str, str], number: int) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise DataError(f"Message {number} is a {type(message).__name__}: give a role and a content.")
    for key in ("role", "content"):
        if not isinstance(message.get(key), str):
            raise DataError(f"Message {number} has no {key!r} that is a string: every message needs one.")
    return dict(message)


def _fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{**system, "role": "user"}, *rest]
    first = {**rest[0], "content": f"{system['content']}\n\n{rest[0]['content']}"}
    return [first, *rest[1:]]


def _environment() -> jinja2.Environment:
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationBlock(Extension):
        """``{% generation %}``: marks the assistant's words for training, and changes nothing in the text."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    # jinja2's own tojson escapes HTML, which no model was trained on.
    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment
