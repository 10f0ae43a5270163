"""Gives parameters rows or columns, or takes them away, and lets everything that knows their shape follow."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.routing.surgery.sizes import update_sizes
from lightning_vista.routing.units import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.endings import is_unitwise_scale
from lightning_vista.routing.units.index import ModelIndex, is_layer

NEW = -1
"""Where an entry comes from that was not there before."""


def sources_with_new(length: int, pieces: Sequence[ParameterSlice], size: int, num_units: int) -> list[int]:
    """Where each entry of an expanded dimension comes from; new units come after the others.

    Args:
        length: The entries before.
        pieces: The slices of one parameter along one dimension: three in fused queries, keys and values.
        size: The units before.
        num_units: The new units.

    Returns:
        For each entry after, its index before, or `NEW`.

    Example:
        >>> queries, keys = (ParameterSlice("weight", dim=0, start=start) for start in (0, 2))
        >>> sources_with_new(4, [queries, keys], size=2, num_units=1)
        [0, 1, -1, 2, 3, -1]
    """
    sources = list(range(length))
    for piece in sorted(pieces, key=lambda piece: piece.start, reverse=True):
        end = piece.start + size // piece.share * piece.unit_size
        sources[end:end] = [NEW] * (num_units // piece.share * piece.unit_size)
    return sources


def sources_without(length: int, pieces: Sequence[ParameterSlice], units: Sequence[int]) -> list[int]:
    """Where each entry of a dimension comes from that loses units.

    Args:
        length: The entries before.
        pieces: The slices of one parameter along one dimension.
        units: The units to lose.

    Returns:
        For each entry after, its index before.
    """
    lost = {entry for piece in pieces for entry in piece.entries(units)}
    return [entry for entry in range(length) if entry not in lost]


def rearrange(tensor: Tensor, dim: int, sources: Sequence[int], mean: float = 0.0, std: float = 0.0) -> Tensor:
    """A tensor whose entries along one dimension are taken from another's.

    Args:
        tensor: The other tensor.
        dim: The dimension.
        sources: For each entry its index in `tensor`, or `NEW`.
        mean: The mean of what is new, drawn from a normal distribution.
        std: Its standard deviation.

    Returns:
        A new tensor.

    Example:
        >>> rearrange(torch.tensor([5, 6, 7]), 0, [2, NEW, 0])
        tensor([7, 0, 5])
    """
    index = torch.tensor(sources, device=tensor.device)
    result = tensor.detach().index_select(dim, index.clamp(min=0))
    new = (index == NEW).nonzero().squeeze(1)
    fresh = torch.full_like(result.index_select(dim, new), mean)
    return result.index_copy_(dim, new, fresh.normal_(mean, std) if std else fresh)


def resize(
    model: nn.Module,
    group: UnitGroup,
    sources: Callable[[int, Sequence[ParameterSlice]], Sequence[int]],
    stds: Mapping[str, float],
    optimizer: Optimizer | None,
) -> None:
    """Rearrange all parameters of a group of units, in place.

    Args:
        model: The model; its modules stay, with new parameters and sizes.
        group: The units.
        sources: From the length of a dimension and the group's slices along it to its new entries' sources.
        stds: The standard deviations of what is new in layers' parameters, by name; 0 for others. What is new in batch
            norms changes nothing.
        optimizer: One whose parameters and state are to follow.

    Raises:
        UnknownStructureError: If the units' readers are not known, or a parameter cannot change its shape.
    """
    index = ModelIndex(model)
    check_readers(group)
    _check_owners(index, group)
    dimensions: dict[tuple[str, int], list[ParameterSlice]] = defaultdict(list)
    for piece in (*group.producers, *group.consumers):
        dimensions[piece.name, piece.dim].append(piece)
    for (name, dim), pieces in dimensions.items():
        order = sources(index.parameters[name].shape[dim], pieces)
        _replace(index, name, dim, order, stds.get(name, 0.0), optimizer)
    update_sizes(ModelIndex(model), group)


def check_readers(group: UnitGroup) -> None:
    """Refuse units of which something is not known.

    Args:
        group: The units.

    Raises:
        UnknownStructureError: If the rows that make them or the columns that read them are not known.
    """
    if not group.producers or not group.consumers:
        raise UnknownStructureError(
            "Expected units of which both the rows that make them and the columns that read them are known, got "
            f"{len(group.producers)} and {len(group.consumers)} slices: name hidden units or attention heads."
        )


def _check_owners(index: ModelIndex, group: UnitGroup) -> None:
    uses = [id(parameter) for parameter in index.parameters.values()]
    for name in {piece.name for piece in (*group.producers, *group.consumers)}:
        owner = index.modules[name.rpartition(".")[0]]
        if not is_layer(owner) and not is_unitwise_scale(owner):
            raise UnknownStructureError(
                f"Expected a layer or batch norm, but {name!r} belongs to a {type(owner).__name__}."
            )
        if uses.count(id(index.parameters[name])) > 1:
            raise UnknownStructureError(f"{name!r} is tied to another parameter, which would have to change with it.")


def _replace(
    index: ModelIndex, name: str, dim: int, order: Sequence[int], std: float, optimizer: Optimizer | None
) -> None:
    """Put a rearranged parameter in the place of one, in its module and its optimizer."""
    path, _, leaf = name.rpartition(".")
    owner, old = index.modules[path], index.parameters[name]
    if is_layer(owner):
        new = nn.Parameter(rearrange(old, dim, order, std=std), old.requires_grad)
    else:
        new = nn.Parameter(rearrange(old, dim, order, mean=float(leaf == "weight")), old.requires_grad)
        _replace_statistics(owner, order)
    setattr(owner, leaf, new)
    if optimizer is not None:
        _follow(optimizer, old, new, lambda tensor: rearrange(tensor, dim, order))


def _replace_statistics(norm: nn.Module, order: Sequence[int]) -> None:
    """Rearrange what a batch norm knows of its units, unless that is done already."""
    for name, buffer in norm.named_buffers(recurse=False):
        if buffer.dim() == 1 and buffer.shape != (len(order),):
            setattr(norm, name, rearrange(buffer, 0, order, mean=float(name == "running_var")))


def _follow(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, change: Callable[[Tensor], Tensor]) -> None:
    """Let an optimizer go on with a new parameter, and with its state in the same order."""
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
    if old in optimizer.state:
        state = optimizer.state.pop(old)
        optimizer.state[new] = {key: change(value) if _is_like(value, old) else value for key, value in state.items()}


def _is_like(value: object, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape
