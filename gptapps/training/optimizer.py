"""The optimizer and its learning rate, which is a function of the update's number and keeps no state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Decline = Literal["cosine", "linear", "constant"]


def make_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter]], *, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW over what requires a gradient; norms and biases don't decay.

    Source: Loshchilov and Hutter 2019 (decoupled weight decay).
    """
    trained = [parameter for _, parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.dim() > 1], "weight_decay": weight_decay},
        {"params": [one for one in trained if one.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate)


def learning_rate_factor(update: int, *, updates: int, warmup: float, decline: Decline) -> float:
    """Return what the learning rate is multiplied by in an update.

    Args:
        update: counted from 0.
        updates: in all.
        warmup: share of them in which the rate rises from zero.
        decline: how it falls to zero afterwards.

    Example:
        >>> [round(learning_rate_factor(n, updates=4, warmup=0.25, decline="linear"), 2) for n in range(4)]
        [1.0, 1.0, 0.67, 0.33]
    """
    rising = math.ceil(warmup * updates)
    if update < rising:
        return (update + 1) / rising
    done = (update - rising) / max(updates - rising, 1)
    match decline:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
        case "constant":
            return 1.0


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """Return what an optimizer keeps, by the parameters' names."""
    return {
        f"{names[parameter]}/{key}": torch.as_tensor(value)
        for parameter, kept in optimizer.state.items()
        for key, value in kept.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], names: Mapping[Tensor, str]
) -> None:
    """Give an optimizer back what :func:`optimizer_tensors` returned."""
    from gptapps.training.sharding import spread_like  # loading it takes half a second

    by_name = {name: parameter for parameter, name in names.items()}
    for place, tensor in tensors.items():
        name, _, key = place.rpartition("/")
        parameter = by_name[name]
        # The count of steps stays on the CPU, where AdamW keeps it.
        optimizer.state[parameter][key] = tensor.clone() if key == "step" else spread_like(tensor, parameter).clone()
