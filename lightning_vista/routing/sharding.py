"""Parameters that are spread over processes: what autograd sees of them, and what a process has of them."""

from collections.abc import Iterator, MutableMapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

if dist.is_available():
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
    from torch.distributed.tensor import DTensor
else:  # builds of torch without distributed training: `isinstance` of nothing is False
    FSDPModule = FullyShardedDataParallel = DTensor = ()  # type: ignore[assignment, misc]

_REMEDY = "Use FSDP2 (`fully_shard`, Lightning's `ModelParallelStrategy`) or DDP."
#: Parameters that FSDP2 shards -> the whole parameters in their place while the model computes.
_WHOLE: MutableMapping[Tensor, nn.Parameter] = WeakTensorKeyDictionary()


def find_whole_parameters(model: nn.Module) -> None:
    """Find what autograd sees of the parameters that FSDP2 (`fully_shard`) shards; every process must call it.

    FSDP2 puts the whole parameter in the place of the sharded one while a module computes, and gives the sharded one
    its gradient by itself. Autograd therefore reaches the whole parameter only, which is the same object each time.

    Args:
        model: The model; nothing happens to other models.
    """
    for module in [module for module in model.modules() if isinstance(module, FSDPModule)]:
        sharded = dict(_places(module))
        module.unshard()  # one unit at a time, so that memory never holds more than in a forward pass
        for place, whole in _places(module):
            if whole is not sharded[place]:
                _WHOLE[sharded[place]] = whole
        module.reshard()


def whole_parameter(parameter: nn.Parameter) -> nn.Parameter:
    """Return what autograd sees of a parameter: itself, or the whole parameter of one that FSDP2 shards.

    Args:
        parameter: A parameter of a model that `find_whole_parameters` has seen.

    Returns:
        The leaf of the autograd graph.
    """
    return _WHOLE.get(parameter, parameter)


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process has; it shares the memory.

    Args:
        tensor: Any tensor.

    Returns:
        The tensor itself, or the local part of a `DTensor`.
    """
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def local_entries(tensor: Tensor, dim: int, entries: Tensor) -> Tensor:
    """Turn indices of a whole tensor into those of the part that this process has.

    Args:
        tensor: Any tensor.
        dim: The dimension of the indices.
        entries: The indices in the whole tensor.

    Returns:
        The indices in the local part; those that other processes have are left out.

    Example:
        >>> local_entries(torch.zeros(4, 2), 0, torch.tensor([1, 3]))
        tensor([1, 3])
    """
    if not isinstance(tensor, DTensor):
        return entries
    mine = torch.arange(tensor.shape[dim], device=entries.device)
    coordinates: Sequence[int] = tensor.device_mesh.get_coordinate() or []
    for size, place, placement in zip(tensor.device_mesh.shape, coordinates, tensor.placements, strict=True):
        if placement.is_shard(dim):
            chunks = mine.chunk(size)  # as `Shard` divides: the last processes may have less, or nothing
            mine = chunks[place] if place < len(chunks) else mine[:0]
    if not len(mine):
        return entries[:0]
    return entries[torch.isin(entries, mine)] - mine[0]


def sharding_faults(model: nn.Module) -> list[str]:
    """Find ways of spreading a model over processes with which routing is not exact.

    Args:
        model: The model.

    Returns:
        One sentence for each way, with what to use instead.
    """
    parameters = list(model.parameters())
    is_fsdp1 = any(isinstance(module, FullyShardedDataParallel) for module in model.modules())
    faults = engine_faults(is_fsdp1, zero_stage=3 if any(hasattr(p, "ds_id") for p in parameters) else 0)
    if any(isinstance(whole_parameter(parameter), DTensor) for parameter in parameters):
        faults.append(f"Tensor parallelism divides the units of layers among processes. {_REMEDY}")
    return faults


def engine_faults(is_fsdp1: bool, zero_stage: int, guards_steps: bool = False) -> list[str]:
    """Find out whether an engine that trains a model lets routing be exact.

    Args:
        is_fsdp1: Whether the model is one of `FullyShardedDataParallel`.
        zero_stage: The stage of DeepSpeed's ZeRO; 0 without it.
        guards_steps: Whether routes act on optimizer steps: routes on parameters, or isolation.

    Returns:
        One sentence for each reason why it does not, with what to use instead.

    Example:
        >>> engine_faults(False, zero_stage=2)
        []
    """
    faults = [f"FSDP1 (`FullyShardedDataParallel`) flattens parameters. {_REMEDY}"] if is_fsdp1 else []
    if zero_stage == 3:
        faults.append(f"DeepSpeed ZeRO-3 divides parameters into pieces without rows and columns. {_REMEDY}")
    elif zero_stage and guards_steps:
        faults.append(
            f"DeepSpeed ZeRO-{zero_stage} updates flat copies of the parameters, so that routes on parameters and "
            f"`isolate_optimizer` cannot hold any of them still. {_REMEDY}"
        )
    return faults


def _places(module: nn.Module) -> Iterator[tuple[tuple[int, str], nn.Parameter]]:
    """Yield the places of the parameters in a module, and what is there now."""
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False, remove_duplicate=False):
            yield (id(owner), name), parameter
