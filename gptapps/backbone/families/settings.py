"""Values of a config.json, or of a GGUF file's metadata, checked as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptapps.backbone.config import Activation
from gptapps.errors import CheckpointError, UnsupportedModelError

_ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_python": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "gelu_accurate": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "gelu_python_tanh": Activation.GELU_TANH,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "relu": Activation.RELU,
}

ACTIVATION_NAMES = {
    Activation.GELU: "gelu",
    Activation.GELU_TANH: "gelu_pytorch_tanh",
    Activation.SILU: "silu",
    Activation.RELU: "relu",
}
"""How transformers calls each activation."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Named values and where they come from.

    Attributes:
        values: what a JSON object holds.
        source: where it was read, as a message should name it.
    """

    values: Mapping[str, Any]
    source: str

    def has(self, name: str) -> bool:
        """Return whether ``name`` is there and not null."""
        return self.values.get(name) is not None

    def whole(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """Return a whole number that is at least ``least``.

        Raises:
            CheckpointError: it is absent without a default, or something else.
        """
        value = self._value(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self._wrong(name, value, f"a whole number from {least} on")
        return value

    def optional_whole(self, name: str) -> int | None:
        """Return a whole number, or None where it is absent or null; raises as :meth:`whole` does."""
        return self.whole(name) if self.has(name) else None

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number; raises as :meth:`whole` does."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(name, value, "a number")
        return float(value)

    def positive(self, name: str, default: float | None = None) -> float:
        """Return a number above zero; raises as :meth:`whole` does."""
        value = self.number(name, default)
        if not value > 0:
            raise self._wrong(name, value, "a number above zero")
        return value

    def optional_number(self, name: str) -> float | None:
        """Return a number, or None where it is absent or null; raises as :meth:`whole` does."""
        return self.number(name) if self.has(name) else None

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false; raises as :meth:`whole` does."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string; raises as :meth:`whole` does."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def items(self, name: str) -> list[Any] | None:
        """Return a list, or None where it is absent or null; raises as :meth:`whole` does."""
        if not self.has(name):
            return None
        value = self.values[name]
        if not isinstance(value, (list, tuple)):
            raise self._wrong(name, value, "a list")
        return list(value)

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return a list of numbers; raises as :meth:`whole` does."""
        value = self.items(name)
        if value is None or not all(isinstance(item, (int, float)) for item in value):
            raise self._wrong(name, value, "a list of numbers")
        return tuple(float(item) for item in value)

    def section(self, name: str) -> Settings | None:
        """Return the settings of a nested object, or None where it is absent or null."""
        if not self.has(name):
            return None
        value = self.values[name]
        if not isinstance(value, Mapping):
            raise self._wrong(name, value, "an object")
        return Settings(value, f"{name} in {self.source}")

    def activation(self, name: str, default: str) -> Activation:
        """Return the activation that transformers calls by this name.

        Raises:
            UnsupportedModelError: it is one that gptapps doesn't know.
        """
        value = self.text(name, default)
        if value not in _ACTIVATIONS:
            raise self.unsupported(name, f"known are {', '.join(sorted(_ACTIVATIONS))}")
        return _ACTIVATIONS[value]

    def refuse_unless(self, name: str, *harmless: object) -> None:
        """Insist that an option gptapps doesn't implement is absent, null or ``harmless``.

        Raises:
            UnsupportedModelError: it is set to something else.
        """
        if self.has(name) and self.values[name] not in harmless:
            raise self.unsupported(name)

    def unsupported(self, name: str, remedy: str = "no family of gptapps does that") -> UnsupportedModelError:
        """Return the error for a value of ``name`` that gptapps can't act on."""
        return UnsupportedModelError(f"{self.source} sets {name} to {self.values.get(name)!r}: {remedy}.")

    def _value(self, name: str, default: object) -> Any:
        value = self.values.get(name)
        if value is None:
            value = default
        if value is None:
            raise CheckpointError(f"{self.source} doesn't say {name}, without which the model can't be built.")
        return value

    def _wrong(self, name: str, value: object, wanted: str) -> CheckpointError:
        return CheckpointError(f"{self.source} sets {name} to {value!r} where {wanted} belongs.")
