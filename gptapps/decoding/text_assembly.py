"""From tokens to text that can be shown at once: whole characters only, nothing that a stop string may take back."""

from __future__ import annotations

from gptapps.tokenization.tokenizer import Tokenizer


class TextAssembly:
    """Collects the text of one continuation, token by token.

    Args:
        tokenizer: whose tokens come.
        stop: strings that end the text and are not part of it.

    Attributes:
        text: what is certain so far; only grows.
        stopped: a stop string appeared; nothing comes after it.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self._stream = tokenizer.stream()
        self._stop = stop
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Take one token and return the text that became certain by it, often one word, sometimes nothing."""
        return self._take(self._stream.push(token), final=False)

    def finish(self) -> str:
        """Return the text that was held back, now that no token follows."""
        return self._take(self._stream.finish(), final=True)

    def _take(self, piece: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += piece
        hits = [position for stop in self._stop if (position := self._held.find(stop)) >= 0]
        if hits:
            self.stopped = True
            certain, self._held = self._held[: min(hits)], ""
        else:
            keep = 0 if final else self._possible_stop_length()
            certain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        self.text += certain
        return certain

    def _possible_stop_length(self) -> int:
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stop):
                return size
        return 0
