"""What prompts have in common, so that a report shows it once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SharedPrompt:
    """The beginning and the end that all prompts have, cut at line breaks.

    Attributes:
        before, after: around an example's own part; ``""`` where there is nothing in common.
    """

    before: str
    after: str

    @classmethod
    def of(cls, prompts: Sequence[str]) -> SharedPrompt:
        """Return what the prompts have in common; nothing where they are fewer than two, or all the same.

        Example:
            >>> SharedPrompt.of(["Label it.\\nText: A\\nLabel:", "Label it.\\nText: B\\nLabel:"])
            SharedPrompt(before='Label it.\\n', after='\\nLabel:')
        """
        if len(set(prompts)) < 2:
            return cls("", "")
        before = _beginning(prompts)
        before = before[: before.rfind("\n") + 1]
        rest = [prompt[len(before) :] for prompt in prompts]
        after = _beginning([text[::-1] for text in rest])[::-1]
        border = re.search(r"[\n<]", after)  # a line, or a chat template's token that ends the text
        return cls(before, after[border.start() :] if border else "")

    def own(self, prompt: str) -> str:
        """Return the part of a prompt between the two."""
        return prompt[len(self.before) : len(prompt) - len(self.after)]


def _beginning(texts: Sequence[str]) -> str:
    """Return what all texts begin with: what the first and the last of them in order begin with."""
    first, last = min(texts), max(texts)
    length = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None)
    return first if length is None else first[:length]
