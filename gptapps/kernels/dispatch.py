"""Which implementation an operation runs on: Triton's kernels or the plain PyTorch they are checked against.

The argument ``impl`` of an operation decides, then the environment variable ``GPTAPPS_KERNELS``, then ``auto``: Triton
for tensors on an NVIDIA GPU from Ampere (A100, RTX 30) on, the reference for all others. A choice by name is kept or
refused, never exchanged.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

from gptapps.errors import KernelUnavailableError, OptionError

Impl = Literal["auto", "triton", "reference"]
VARIABLE = "GPTAPPS_KERNELS"

# os.environ.get raises and catches where a name isn't set, which takes 3 us before each of a token's 180 operations.
_ENVIRONMENT = os.environ._data  # type: ignore[attr-defined]
_KEY = os.environ.encodekey(VARIABLE)

_WORDS = get_args(Impl)
_PLAIN = (Tensor, torch.nn.Parameter)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_OLDEST = (8, 0)  # compute capability
LARGEST_HEAD = 256  # channels that a tile of attention has room for


def _triton_is_installed() -> bool:
    try:
        return find_spec("triton") is not None
    except ImportError:
        return False


_HAS_TRITON = _triton_is_installed()


def interpreting() -> bool:
    """Whether Triton kernels run in Triton's interpreter, which needs no GPU (``TRITON_INTERPRET=1``)."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def uses_triton(impl: Impl | None, *tensors: Tensor | None) -> bool:
    """Whether an operation on ``tensors`` runs on Triton.

    Args:
        impl: the caller's choice; None for the environment's, which is ``auto`` unless it is set.
        tensors: what the operation reads. None is passed over, and of integers only the device counts.

    Raises:
        KernelUnavailableError: ``triton`` was chosen, and Triton isn't installed, or a tensor lies on no CUDA device
            (with the interpreter off), on one older than Ampere, or holds numbers that no kernel takes; while PyTorch
            compiles, too.
        OptionError: the choice is no word of :data:`Impl`.

    Example:
        >>> uses_triton(None, torch.zeros(3))
        False
    """
    choice = impl or (_of_environment() if _KEY in _ENVIRONMENT else "auto")
    if choice == "reference":
        return False
    if choice == "auto":
        for tensor in tensors:  # a loop and no generator: this stands before every operation
            if tensor is not None and not (tensor.is_cuda and _is_taken(tensor) and _runs_kernels(tensor)):
                return False
        return _HAS_TRITON
    if choice != "triton":
        raise OptionError(f"Kernels are one of {', '.join(_WORDS)}, not {choice!r} (impl= or {VARIABLE}).")
    if not _HAS_TRITON:
        raise KernelUnavailableError('Triton kernels need Triton; install it with: pip install "gptapps[gpu]"')
    for tensor in tensors:
        _check(tensor)
    return True


def is_chosen(impl: Impl | None) -> bool:
    """Whether Triton was chosen by name, so that nothing else may take its place."""
    return (impl or os.environ.get(VARIABLE)) == "triton"


def takes_heads(impl: Impl | None, *tensors: Tensor) -> bool:
    """Whether attention over ``tensors`` runs on Triton: :func:`uses_triton`, and heads that its kernels take.

    Args:
        impl: the caller's choice.
        tensors: queries, keys and values, their channels last.

    Raises:
        KernelUnavailableError: ``triton`` was chosen and can't be had.
        OptionError: see :func:`uses_triton`.
    """
    if not uses_triton(impl, *tensors):
        return False
    sizes = {tensor.shape[-1] for tensor in tensors}
    if len(sizes) == 1 and max(sizes) <= LARGEST_HEAD:
        return True
    if is_chosen(impl):
        said = " and ".join(map(str, sorted(sizes)))
        raise KernelUnavailableError(
            f"The kernels take heads of one size of at most {LARGEST_HEAD} channels, not {said}; choose auto or "
            "reference."
        )
    return False


def launches(tensor: Tensor) -> bool:
    """Whether the body of a registered operation can launch a kernel on ``tensor``, or has to compute the reference."""
    if not (_HAS_TRITON and _is_taken(tensor)):
        return False
    return _is_supported(tensor.get_device()) if tensor.is_cuda else interpreting()


def needs_operator(*tensors: Tensor | None) -> bool:
    """Whether a call has to go through the registered operation, which costs some 60 us of the host's time.

    That is so while PyTorch traces or compiles, and where a gradient will be asked for; otherwise the kernels can be
    launched directly.
    """
    if torch.compiler.is_compiling():
        return True
    learning = torch.is_grad_enabled()
    return any(
        tensor is not None and ((learning and tensor.requires_grad) or type(tensor) not in _PLAIN) for tensor in tensors
    )


def _of_environment() -> str:
    return os.environ.get(VARIABLE) or "auto"


def _is_taken(tensor: Tensor) -> bool:
    return tensor.dtype in _DTYPES or not (tensor.is_floating_point() or tensor.is_complex())


def _runs_kernels(tensor: Tensor) -> bool:
    # A compiler need not look at the card; the body of the operation does so when it runs.
    return torch.compiler.is_compiling() or _is_supported(tensor.get_device())


@cache
def _is_supported(card: int) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(card) >= _OLDEST


def _is_supported_while_compiling(card: int) -> bool:
    return _is_supported(card)


# The compiler calls it and keeps the answer. It is what torch.compiler.assume_constant_result sets, which would import
# the compiler first; that takes seconds.
_is_supported_while_compiling._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _check(tensor: Tensor | None) -> None:
    if tensor is None:
        return
    if not (tensor.is_cuda or interpreting()):
        raise KernelUnavailableError(
            f"Triton kernels run on a CUDA device, and a tensor lies on {tensor.device.type}; choose auto or reference."
        )
    if tensor.is_cuda and not _is_supported_while_compiling(tensor.get_device()):
        raise KernelUnavailableError(
            "Triton kernels need an NVIDIA GPU of compute capability 8.0 or newer; choose auto or reference."
        )
    if not _is_taken(tensor):
        name = str(tensor.dtype).removeprefix("torch.")
        raise KernelUnavailableError(
            f"Triton kernels take float32, float16 and bfloat16, not {name}; choose auto or reference."
        )
