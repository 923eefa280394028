"""The tokenizer: text to ids, ids to text, conversations to text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from gptapps.errors import CapabilityError, DataError, ResourceError
from gptapps.tokenization.chat_template import ChatTemplate
from gptapps.tokenization.directory_tokenizer import read_directory
from gptapps.tokenization.gguf_tokenizer import read_gguf
from gptapps.tokenization.parts import TokenizerParts
from gptapps.tokenization.text_stream import TextStream
from gptapps.tokenization.token_spelling import spelled_bytes, spelling_of


class Tokenizer:
    """One model's tokenizer. It never changes, so threads may share it.

    Args:
        parts: what a reader found; use :meth:`from_directory` or :meth:`from_gguf`.

    Attributes:
        vocabulary_size: number of tokens, added ones included.
        bos_id: what begins a text, or None.
        eos_ids: what ends a generation; the tokenizer's own end token first.
        pad_id: what fills rows up, or None.
        start_id: what stands before a text that has nothing before it.
        special_ids: ids that stand for no text.
        chat_template: jinja2 source, or None for a model that doesn't chat.

    Example:
        >>> tokenizer = Tokenizer.from_directory(Path("my-model"))
        >>> tokenizer.decode(tokenizer.encode("Hello, world."))
        'Hello, world.'
    """

    def __init__(self, parts: TokenizerParts) -> None:
        self._backend = parts.backend
        self._special_tokens = dict(parts.special_tokens)
        self._source = parts.source
        self._spelling = spelling_of(parts.backend.decoder)
        self._chat = (
            ChatTemplate(parts.chat_template, parts.special_tokens, parts.source)
            if parts.chat_template is not None
            else None
        )
        added = parts.backend.get_added_tokens_decoder()
        eos_id = self._role_id("eos_token")
        own = () if eos_id is None else (eos_id,)
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self.vocabulary_size = parts.backend.get_vocab_size(with_added_tokens=True)
        self.bos_id = self._role_id("bos_token")
        self.eos_ids = tuple(dict.fromkeys(own + parts.extra_eos_ids))
        self.start_id = next((one for one in (self.bos_id, *self.eos_ids) if one is not None), 0)
        self.pad_id = self._role_id("pad_token")
        self.chat_template = parts.chat_template

    @classmethod
    def from_directory(cls, path: Path) -> Tokenizer:
        """Read tokenizer.json, or vocab.json and merges.txt, and the settings beside them.

        tokenizer_config.json and special_tokens_map.json name the special tokens, generation_config.json (or else
        config.json) further ids that end a generation, chat_template.jinja (or else tokenizer_config.json) the
        chat template.

        Raises:
            ModelNotFoundError: no such directory, or no tokenizer in it.
            CheckpointError: a broken file, named in the message.
            UnsupportedModelError: only a SentencePiece model file.
        """
        return cls(read_directory(path))

    @classmethod
    def from_gguf(cls, path: Path) -> Tokenizer:
        """Read the tokenizer that a GGUF file carries.

        Raises:
            CheckpointError: the file lacks a key, or its lists don't fit each other.
            UnsupportedModelError: a kind of tokenizer gptapps doesn't know.
        """
        return cls(read_gguf(Path(path)))

    def encode(self, text: str, *, special_tokens: bool = True) -> list[int]:
        """Return the ids of ``text``.

        Special tokens that are written out in the text become their ids. A character of which the vocabulary has
        neither the whole nor the bytes is left out, or becomes the unknown token where there is one.

        Args:
            text: any string without lone surrogates.
            special_tokens: add what the model expects around a text, such as ``<bos>``.

        Raises:
            DataError: not a string, or a lone surrogate in it.
        """
        check_text(text)
        return self._backend.encode(text, add_special_tokens=special_tokens).ids

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = True) -> list[list[int]]:
        """Return the ids of each text, as :meth:`encode` gives them.

        Raises:
            DataError: as for :meth:`encode`; the message counts the texts from 1.
        """
        if isinstance(texts, str):
            raise DataError("A batch is a list of texts, and this is one text: put it in a list.")
        for number, text in enumerate(texts, start=1):
            check_text(text, f"Text {number}")
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=special_tokens)
        return [encoding.ids for encoding in encodings]

    def offsets(self, text: str, *, special_tokens: bool = True) -> list[tuple[int, int]]:
        """Return, for each id of :meth:`encode`, where its text begins and ends in ``text``.

        Counted in code points, end exclusive. Tokens that share the bytes of one character each span the whole
        character; an added special token spans ``(0, 0)``.

        Raises:
            DataError: as for :meth:`encode`.

        Example:
            >>> tokenizer.offsets("Hi there")
            [(0, 2), (2, 8)]
        """
        check_text(text)
        return self._backend.encode(text, add_special_tokens=special_tokens).offsets

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of ``ids``; bytes that are no UTF-8 become U+FFFD, unknown ids nothing."""
        return self._backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def stream(self, *, skip_special_tokens: bool = True) -> TextStream:
        """Return a decoder for ids that arrive one at a time."""
        return TextStream(self._backend, self.special_ids if skip_special_tokens else frozenset())

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token stands for, ``b""`` for special and unknown ones.

        Joined over the ids of a text they are its UTF-8 bytes, but for what the tokenizer normalises: Llama 2
        puts a space before a text, SentencePiece takes "▁" for a space, Qwen composes accents (NFC), and GPT-1
        lower-cases, drops accents and ends each word with a space.
        """
        token = self._backend.id_to_token(token_id)
        if token is None or token_id in self.special_ids:
            return b""
        return spelled_bytes(token, self._spelling)

    @cached_property
    def checksum(self) -> str:
        """The SHA-256 of everything that decides which ids a text has; the chat template is no part of it."""
        said = (self._backend.to_str(), sorted(self._special_tokens.items()), self.eos_ids)
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def ids_by_bytes(self) -> Mapping[bytes, tuple[int, ...]]:
        """Return, for every byte string some token stands for, the ids of those tokens, lowest first.

        Special tokens stand for none. Computed on the first call and kept.
        """
        return self._ids_by_bytes

    @cached_property
    def _ids_by_bytes(self) -> Mapping[bytes, tuple[int, ...]]:
        found: dict[bytes, tuple[int, ...]] = {}
        for token, token_id in sorted(self._backend.get_vocab().items(), key=lambda item: item[1]):
            spelled = b"" if token_id in self.special_ids else spelled_bytes(token, self._spelling)
            if spelled:
                found[spelled] = (*found.get(spelled, ()), token_id)
        return MappingProxyType(found)

    @property
    def supports_system_role(self) -> bool:
        """Whether the chat template has a place for a system message; False without a template."""
        return self._chat is not None and self._chat.supports_system_role

    def render_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        """Return a conversation as the text the model was trained on.

        The text holds its special tokens already: encode it with ``special_tokens=False``. Where the template has
        no place for a system message, its text goes in front of the first user message.

        Args:
            messages: each with a ``role`` ("system", "user", "assistant") and a ``content``.
            add_generation_prompt: end with the header of the assistant's turn.

        Raises:
            CapabilityError: the model has no chat template.
            DataError: no messages, or one without role or content.
            UnsupportedModelError: the template is broken, or refuses these messages.
        """
        if self._chat is None:
            raise CapabilityError(
                f"The model in {self._source} has no chat template: give it a plain prompt, or take a model that "
                "chats (gptapps models pull smollm2-135m-instruct)."
            )
        return self._chat.render(messages, add_generation_prompt=add_generation_prompt)

    def save(self, directory: Path) -> None:
        """Write the tokenizer so that :meth:`from_directory` and transformers' AutoTokenizer read it back.

        Writes tokenizer.json and tokenizer_config.json, chat_template.jinja where there is a template, and
        ``eos_token_id`` in generation_config.json where other ids than that of ``eos_token`` end a generation.

        Raises:
            ResourceError: the directory can't be written.
        """
        config: dict[str, object] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **self._special_tokens,
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "tokenizer.json").write_text(self._backend.to_str(), encoding="utf-8")
            _write_json(directory / "tokenizer_config.json", config)
            if self.chat_template is not None:
                (directory / "chat_template.jinja").write_text(self.chat_template, encoding="utf-8")
            if self.eos_ids[1:] or (self.eos_ids and "eos_token" not in self._special_tokens):
                _write_eos_ids(directory / "generation_config.json", self.eos_ids)
        except OSError as error:
            raise ResourceError(
                f"The tokenizer can't be written to {directory} ({error}): choose another folder."
            ) from error

    def _role_id(self, role: str) -> int | None:
        token = self._special_tokens.get(role)
        return None if token is None else self._backend.token_to_id(token)


def check_text(text: object, what: str = "The text") -> None:
    """Refuse what no tokenizer can encode.

    Raises:
        DataError: not a string, or a lone surrogate in it; ``what`` is the subject of the sentence.
    """
    if not isinstance(text, str):
        raise DataError(f"{what} is a {type(text).__name__}, and has to be a string.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{what} has half a character at position {error.start}, the lone surrogate "
            f"U+{ord(text[error.start]):04X}: it was decoded wrongly, decode it again or leave the half out."
        ) from error


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _write_eos_ids(path: Path, eos_ids: tuple[int, ...]) -> None:
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    _write_json(path, {**settings, "eos_token_id": list(eos_ids)})
