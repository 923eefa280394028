"""Text from token ids, one id at a time."""

from __future__ import annotations

import tokenizers

from gptapps.tokenization.token_spelling import byte_token_value


class TextStream:
    """Decodes ids as they arrive; the pieces, joined, are what decoding all of them at once gives.

    A piece is handed out once no later id can change it. So a character whose bytes are spread over several
    ids comes out whole with the last of them, and a run of byte tokens (``<0xE4><0xB8><0xAD>``) comes out with
    the first token after the run: one invalid byte turns the whole run into replacement characters.

    ``tokenizers.decoders.DecodeStream`` isn't used: it hands a byte run out early, fails when the run turns
    out invalid, and keeps back what is pending when the ids end.

    One stream serves one sequence in one thread.

    Args:
        backend: the tokenizer whose ids arrive.
        skipped_ids: ids that leave no text.

    Example:
        >>> stream = tokenizer.stream()
        >>> "".join(stream.push(i) for i in tokenizer.encode("你好")) + stream.finish()
        '你好'
    """

    __slots__ = ("_backend", "_context", "_pending", "_skipped_ids")

    def __init__(self, backend: tokenizers.Tokenizer, skipped_ids: frozenset[int]) -> None:
        self._backend = backend
        self._skipped_ids = skipped_ids
        self._context: list[int] = []  # already handed out; decoders treat a text's first token differently
        self._pending: list[int] = []

    def push(self, token_id: int) -> str:
        """Take the next id; return the text that is now certain, often an empty string."""
        token = self._backend.id_to_token(token_id)
        if token is None or token_id in self._skipped_ids:
            return ""
        self._pending.append(token_id)
        if byte_token_value(token) is not None:
            return ""
        piece = self._pending_text()
        if piece.endswith("\ufffd"):
            return ""
        self._hand_out(piece)
        return piece

    def finish(self) -> str:
        """Return what was still pending; the stream can then be used for another sequence."""
        piece = self._pending_text()
        self._context, self._pending = [], []
        return piece

    def _pending_text(self) -> str:
        before = self._decode(self._context)
        return self._decode(self._context + self._pending)[len(before) :]

    def _hand_out(self, piece: str) -> None:
        # A context that decodes to nothing would be taken for the beginning of the text.
        self._context = self._pending if piece else self._context + self._pending
        self._pending = []

    def _decode(self, ids: list[int]) -> str:
        return self._backend.decode(ids, skip_special_tokens=False)
