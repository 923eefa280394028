"""What is learned, spread over processes: weights, gradients and what the optimizer keeps.

PyTorch's ``fully_shard`` does it: each process keeps its rows of every learned tensor and fetches the others a block at
a time, while it reads and while it works out the gradients.

Source: Rajbhandari et al. 2020 (ZeRO), stage 3; Zhao et al. 2023 (PyTorch FSDP).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from gptapps.backbone.gpt import GPTBackbone


def spread(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of a module whose learned parameters are spread over all processes.

    The module itself gives those up, so that each process holds its share only, until :func:`whole` or
    :func:`give_back` fill it. What isn't learned stays whole in both, in the same memory.

    Args:
        module: on the device; its GPT's blocks are spread one by one.
        device: of this process.
    """
    twins: dict[int, object] = {
        id(one): nn.Parameter(one.detach(), requires_grad=one.requires_grad) for one in module.parameters()
    }
    copied = copy.deepcopy(module, twins)
    frozen = {one for one in copied.parameters() if not one.requires_grad}
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for part in copied.modules():
        if isinstance(part, GPTBackbone):
            for block in part.blocks:
                fully_shard(block, mesh=mesh, ignored_params=frozen)
    fully_shard(copied, mesh=mesh, ignored_params=frozen)
    _empty(module)
    return copied


@contextmanager
def whole(module: nn.Module, copied: nn.Module) -> Iterator[None]:
    """Let a module have the learned weights of its spread copy while the block runs."""
    give_back(module, copied)
    try:
        yield
    finally:
        _empty(module)


def give_back(module: nn.Module, copied: nn.Module) -> None:
    """Fill a module with the learned weights of its spread copy; every process has to call it."""
    learned = {name: one for name, one in copied.named_parameters() if one.requires_grad}
    for name, parameter in module.named_parameters():
        if name in learned:
            parameter.data = gathered(learned[name])


def gathered(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor; of one that is spread every process has to ask."""
    with torch.no_grad():
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def all_gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the whole of each tensor, as :func:`gathered` does."""
    return {name: gathered(tensor) for name, tensor in tensors.items()}


def spread_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return a whole tensor, on the other's device and spread as that one is."""
    if not isinstance(other, DTensor):
        return tensor.to(other.device)
    here = tensor.to(other.to_local().device)
    return distribute_tensor(here, other.device_mesh, other.placements, src_data_rank=None)


@contextmanager
def added_up_later(copied: nn.Module) -> Iterator[None]:
    """Let each process keep its gradients of what is read meanwhile to itself."""
    if not isinstance(copied, FSDPModule):
        raise TypeError("the module is not spread")
    copied.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        copied.set_requires_gradient_sync(True)


def agreed(value: bool, device: torch.device) -> bool:
    """Return what the first process says, to all of them."""
    said = torch.tensor(value, device=device)
    distributed.broadcast(said, 0)
    return bool(said)


def most(count: int, device: torch.device) -> int:
    """Return the largest of the processes' numbers."""
    said = torch.tensor(count, device=device)
    distributed.all_reduce(said, distributed.ReduceOp.MAX)
    return int(said)


def _empty(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.new_empty(0)
