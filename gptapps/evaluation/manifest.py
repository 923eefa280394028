"""What decides a run's numbers, written down so that a run can be told from another one and made again."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gptapps.decoding.language_model import LanguageModel
from gptapps.metrics.score import installed_version
from gptapps.pipelines.base import Pipeline
from gptapps.task_definition import TaskDefinition

SCHEMA_VERSION = 2

_LIBRARIES = ("gptapps", "torch", "tokenizers", "numpy", "sacrebleu", "rouge-score", "nltk")
OF_THE_PROMPT = ("prompt", "system", "shots")
"""Options of calls that stand under "prompt" in a manifest."""

_FREE = ("schema_version", "signature", "created", "batch_size", "names")
"""Keys on which no number depends."""

_ABSENT = object()

_IN_WORDS = {
    "task.sha256": "the task definition",
    "tokenizer.sha256": "the tokenizer",
    "model.sha256": "the model",
    "data.sha256": "the data",
    "prompt.sha256": "the prompt",
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of ``manifest.json``.

    Attributes:
        content: everything, with the signature.
    """

    content: Mapping[str, Any]

    @classmethod
    def of(cls, content: Mapping[str, Any], *, created: str, batch_size: int) -> Manifest:
        """Return the manifest of what decides the numbers, signed."""
        plain = json.loads(json.dumps(content, ensure_ascii=False))
        decisive = _decisive(plain)
        free = {"schema_version": SCHEMA_VERSION, "created": created, "batch_size": batch_size}
        return cls({**free, "signature": digest(decisive)[:16], **plain})

    @property
    def signature(self) -> str:
        """16 hexadecimal digits that two runs share where the same numbers have to come out."""
        return str(self.content["signature"])

    def as_json(self) -> bytes:
        """Return the file's bytes."""
        return (json.dumps(self.content, ensure_ascii=False, indent=2) + "\n").encode()

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Return in words what ``other``, an earlier manifest's content, has differently; empty where nothing."""
        mine, theirs = dict(_leaves(_decisive(self.content))), dict(_leaves(_decisive(other)))
        changed = [key for key in {**mine, **theirs} if mine.get(key, _ABSENT) != theirs.get(key, _ABSENT)]
        # What the prompt holds is shown by its checksum; a longer list would say the same several times.
        listed = [key for key in changed if not key.startswith("prompt.") or key == "prompt.sha256"]
        return [_in_words(key, theirs.get(key), mine.get(key)) for key in listed or changed]


def digest(value: object) -> str:
    """Return the SHA-256 of a value as JSON with sorted keys."""
    written = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


def task_identity(definition: TaskDefinition) -> dict[str, str]:
    """Return a definition's id and a checksum of everything it says."""
    return {"id": definition.id, "sha256": digest(definition.model_dump(mode="json", exclude={"origin"}))}


def prompt_identity(pipeline: Pipeline[Any, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands around an input: templates and worked examples in full, the chat template's checksum.

    Args:
        pipeline: whose model and definition it is.
        options: of its calls; the templates and worked examples among them count, and None stands for the
            definition's own.
    """
    template = pipeline.model.tokenizer.chat_template
    parts: dict[str, Any] = {
        "prompts": pipeline.definition.model_dump(
            mode="json", include={"prompts", "label_words", "shots"}, exclude_none=True
        ),
        "chat_template": None if template is None else digest(template),
        **{name: options.get(name) for name in OF_THE_PROMPT},
    }
    return {"sha256": digest(parts), **parts}


def runtime(model: LanguageModel) -> dict[str, Any]:
    """Return where and in which numbers the model runs, and the versions of what the numbers come from."""
    return runtime_on(model.backbone.device, model.backbone.dtype)


def runtime_on(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return what :func:`runtime` does for a model that is there, for one that isn't yet."""
    versions = {name: installed_version(name) for name in _LIBRARIES}
    return {
        "runtime": {"device": device.type, "dtype": str(dtype).removeprefix("torch.")},
        "versions": {"python": ".".join(platform.python_version_tuple()[:2]), **versions},
    }


def _decisive(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in _FREE}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _in_words(key: str, theirs: object, mine: object) -> str:
    if key in _IN_WORDS:
        return _IN_WORDS[key]
    return f"{key} ({_short(theirs)} there, {_short(mine)} here)"


def _short(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
