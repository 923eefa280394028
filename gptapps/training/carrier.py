"""accelerate, which carries a training onto devices, into mixed precision and over processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from gptapps.errors import OptionError, ResourceError

if TYPE_CHECKING:
    from accelerate import Accelerator

Precision = Literal["no", "bf16", "fp16"]
"""Of the matrix products while training; weights that are learned stay in float32."""


def accelerator(device: torch.device, precision: Precision = "no") -> Accelerator:
    """Return accelerate's object for a device.

    Raises:
        ResourceError: accelerate isn't installed.
        OptionError: a precision that the device, or an earlier training of this process, rules out.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError:
        raise ResourceError("Training needs accelerate, which isn't installed: pip install 'gptapps[train]'.") from None
    AcceleratorState._reset_state()  # an earlier training of this process may have had another precision
    try:
        return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")
    except ValueError as error:
        raise OptionError(f"The precision {precision!r} can't be used here ({error}): choose another.") from None
