"""Prompt templates: jinja2 in a sandbox, where a variable that is missing is an error and not an empty string."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from gptapps.errors import GPTAppsError, TaskDefinitionError

if TYPE_CHECKING:
    import jinja2


class PromptTemplate:
    """A compiled template.

    A template comes from a file that others wrote, so it runs in an immutable sandbox: it can't reach Python's
    attributes, change what it is given, or read a file. Tags leave no blank lines behind, and one line break at
    the very end is dropped.

    Args:
        source: jinja2 source.
        place: where the template stands, for messages.
        error: what to raise; an option of the caller's is not the definition's mistake.

    Raises:
        GPTAppsError: the source is no valid template; its class is ``error``.

    Example:
        >>> PromptTemplate("Text: {{ text }}", "prompts.en.plain").render({"text": "Hello."})
        'Text: Hello.'
    """

    __slots__ = ("_compiled", "_error", "place")

    def __init__(self, source: str, place: str, error: type[GPTAppsError] = TaskDefinitionError) -> None:
        from jinja2 import TemplateSyntaxError

        self.place = place
        self._error = error
        try:
            self._compiled: jinja2.Template = _environment().from_string(source)
        except TemplateSyntaxError as mistake:
            reason = (mistake.message or "").rstrip(".?")
            raise error(f"The template {place} is not valid (line {mistake.lineno}: {reason}); mend it.") from mistake
        except RecursionError as mistake:
            raise error(f"The template {place} is nested too deeply; write it flatter.") from mistake

    def render(self, variables: Mapping[str, object]) -> str:
        """Return the text with ``variables`` in place.

        Raises:
            GPTAppsError: a variable is missing, or the template does what the sandbox or the values don't
                allow; its class is ``error``.
        """
        import jinja2

        try:
            return self._compiled.render(variables)
        # A template can do anything an expression can, "1 / 0" and '"a" + 1' among it.
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            reason = str(error).rstrip(".?")
            raise self._error(
                f"The template {self.place} can't be filled in: {reason}. Variables: {', '.join(variables)}."
            ) from error
        except (RecursionError, MemoryError) as error:
            raise self._error(f"The template {self.place} asks for more than can be worked out: shorten it.") from error


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
