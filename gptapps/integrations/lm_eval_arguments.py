"""What lm-evaluation-harness hands over as dictionaries, checked and in gptapps' words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.models.utils import normalize_gen_kwargs

from gptapps.decoding.sampling import Sampling
from gptapps.errors import OptionError
from gptapps.registry import suggestion

_TEXTS = ("pretrained", "device", "dtype", "revision")
_NUMBERS = ("threads", "batch_size", "max_cache_bytes", "max_length")
_YES_OR_NO = ("low_memory",)
_AUTOMATIC_BATCH = 8
_GENERATION = ("until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How a task wants its texts continued.

    Attributes:
        stop: strings that end a continuation and are not part of it.
        max_new_tokens: the most it may have.
        sampling: how tokens are chosen.
        beams: 1 for none.
    """

    stop: tuple[str, ...]
    max_new_tokens: int
    sampling: Sampling
    beams: int


def checked_arguments(arguments: Mapping[str, Any], fallback: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of :class:`~gptapps.integrations.lm_eval.GPTAppsLM`.

    Args:
        arguments: from ``--model_args``; values may be text.
        fallback: what counts where ``arguments`` is silent; only a batch size and a device are looked at.

    Raises:
        OptionError: a name or value that makes no sense, or no model.
    """
    known = (*_TEXTS, *_NUMBERS, *_YES_OR_NO)
    for name in arguments:
        if name not in known:
            raise OptionError(
                f"--model_args has no {name!r} for gptapps.{suggestion(name, known)} Known: {', '.join(known)}."
            )
    given = {"batch_size": fallback.get("batch_size"), "device": _present(fallback.get("device"))} | dict(arguments)
    given = {name: value for name, value in given.items() if value is not None}
    if "pretrained" not in given:
        raise OptionError(
            "gptapps needs a model: give its name, such as --model_args pretrained=smollm2-135m-instruct."
        )
    if str(given.get("dtype")) == "auto":
        del given["dtype"]
    return {name: _checked(name, value) for name, value in given.items()}


def generation_settings(arguments: Mapping[str, Any], max_new_tokens: int) -> GenerationSettings:
    """Return what a task's ``generation_kwargs`` ask for.

    Args:
        arguments: names as the harness and transformers know them.
        max_new_tokens: where ``arguments`` set no limit.

    Raises:
        OptionError: a name gptapps has no counterpart for, or a value that makes no sense.
    """
    asked: dict[str, Any] = {**normalize_gen_kwargs(dict(arguments), max_new_tokens)}
    beams = _number("num_beams", asked.pop("num_beams", 1))
    for name in asked:
        if name not in _GENERATION:
            known = (*_GENERATION, "num_beams")
            raise OptionError(
                f"gptapps has no generation setting {name!r}.{suggestion(name, known)} Known: {', '.join(known)}."
            )
    temperature = float(asked.get("temperature", 0.0)) if asked["do_sample"] else 0.0
    if asked["do_sample"] and temperature == 0:
        raise OptionError("do_sample=True needs a temperature above 0: set one with --gen_kwargs temperature=N.")
    sampling = Sampling(
        repetition_penalty=float(asked.get("repetition_penalty", 1.0)),
        temperature=temperature,
        top_k=asked.get("top_k") or None,  # transformers' 0 is no bound
        top_p=float(asked.get("top_p", 1.0)),
        min_p=float(asked.get("min_p", 0.0)),
    )
    stop = tuple(str(text) for text in asked["until"] if text)
    return GenerationSettings(stop, int(asked["max_gen_toks"]), sampling, beams)


def _present(device: str | None) -> str | None:
    """Return the command line's device; it is cuda:0 where nobody asked for one, and then any will do."""
    return None if device and device.startswith("cuda") and not torch.cuda.is_available() else device


def _checked(name: str, value: Any) -> int | bool | str:
    if name in _YES_OR_NO:
        if not isinstance(value, bool):
            raise OptionError(f"{name} is {value!r}, but has to be True or False.")
        return value
    return _number(name, value) if name in _NUMBERS else str(value)


def _number(name: str, value: Any) -> int:
    if name == "batch_size" and str(value).startswith("auto"):
        return _AUTOMATIC_BATCH
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise OptionError(f"{name} is {value!r}, but has to be a whole number above 0.")
    return number
