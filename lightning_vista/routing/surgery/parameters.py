"""Resizing of the parameters of units."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.routing.surgery.stated_sizes import update_config, update_modules
from lightning_vista.routing.surgery.trial import try_on_copy
from lightning_vista.routing.units import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.endings import is_unitwise_scale
from lightning_vista.routing.units.group import check_resizable
from lightning_vista.routing.units.parameter_index import ModelIndex, is_layer

#: The source of a new entry.
NEW = -1


def sources_with_new(length: int, pieces: Sequence[ParameterSlice], size: int, num_units: int) -> list[int]:
    """Return the source of each entry of an expanded dimension; new units follow the old ones.

    Args:
        length: The number of entries before.
        pieces: The slices of one parameter along one dimension: three in fused queries, keys and values.
        size: The number of units before.
        num_units: The number of new units.

    Returns:
        For each entry after, its index before, or `NEW`.

    Example:
        >>> queries, keys = (ParameterSlice("weight", dim=0, start=start) for start in (0, 2))
        >>> sources_with_new(4, [queries, keys], size=2, num_units=1)
        [0, 1, -1, 2, 3, -1]
    """
    sources = list(range(length))
    # From the back, so that insertions do not shift the starts of pieces that are still to come.
    for piece in sorted(pieces, key=lambda piece: piece.end(size), reverse=True):
        end = piece.end(size)
        sources[end:end] = [NEW] * (num_units // piece.share * piece.unit_size)
    return sources


def sources_without(length: int, pieces: Sequence[ParameterSlice], units: Sequence[int]) -> list[int]:
    """Return the source of each entry of a dimension that loses units.

    Args:
        length: The number of entries before.
        pieces: The slices of one parameter along one dimension.
        units: The units to remove.

    Returns:
        For each entry after, its index before.

    Example:
        >>> sources_without(4, [ParameterSlice("weight", dim=0)], [1])
        [0, 2, 3]
    """
    lost = {entry for piece in pieces for entry in piece.entries(units)}
    return [entry for entry in range(length) if entry not in lost]


def rearrange(tensor: Tensor, dim: int, sources: Sequence[int], mean: float = 0.0, std: float = 0.0) -> Tensor:
    """Build a tensor whose entries along one dimension are taken from another tensor.

    Args:
        tensor: The other tensor.
        dim: The dimension.
        sources: For each entry its index in `tensor`, or `NEW`.
        mean: The mean of new entries, which are drawn from a normal distribution.
        std: The standard deviation of new entries.

    Returns:
        A new tensor.

    Example:
        >>> rearrange(torch.tensor([5, 6, 7]), 0, [2, NEW, 0])
        tensor([7, 0, 5])
    """
    # New entries take entry 0 for a moment (-1 clamped), and are overwritten.
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
    is_exact: bool = False,
) -> None:
    """Rearrange all parameters of units, in place, once it is known that the model works with them.

    Args:
        model: The model; its modules stay, with new parameters and sizes.
        group: The units.
        sources: The function from the length of a dimension and the slices along it to the sources of its new entries.
        stds: The standard deviation of new entries in layers' parameters, by name; 0 for others. New entries of batch
            norms are neutral.
        optimizer: An optimizer whose parameters and state follow.
        is_exact: Whether new units whose readers are zero must leave what the model computes.

    Raises:
        UnknownStructureError: If not all parameters of the units are known, one cannot change its shape, or a copy does
            not work with the new shapes; the model is as before.
    """
    index = ModelIndex(model)
    check_resizable(group)
    _check_owners(index, group)

    def change(index: ModelIndex, group: UnitGroup) -> None:
        readers = {piece.name for piece in group.consumers}
        silent = {name: std for name, std in stds.items() if name not in readers}
        _rearrange_all(index, group, sources, silent, None)

    try_on_copy(index, group, change, is_exact)
    width = index.length(group.consumers[-1])
    _rearrange_all(index, group, sources, stds, optimizer)
    # A new index, since the old one still holds the parameters from before.
    update_config(ModelIndex(model), group, width)


def _rearrange_all(
    index: ModelIndex,
    group: UnitGroup,
    sources: Callable[[int, Sequence[ParameterSlice]], Sequence[int]],
    stds: Mapping[str, float],
    optimizer: Optimizer | None,
) -> None:
    """Rearrange all parameters of units, and the sizes that their modules state."""
    # Pieces of one parameter and dimension, such as fused queries, keys and values, are resized at once.
    dimensions: dict[tuple[str, int], list[ParameterSlice]] = defaultdict(list)
    for piece in (*group.producers, *group.consumers):
        dimensions[piece.name, piece.dim].append(piece)
    for (name, dim), pieces in dimensions.items():
        order = sources(index.parameters[name].shape[dim], pieces)
        _replace(index, name, dim, order, stds.get(name, 0.0), optimizer)
    update_modules(index, group)


def _check_owners(index: ModelIndex, group: UnitGroup) -> None:
    """Refuse parameters that cannot change their shape; called before anything changes."""
    names = {piece.name for piece in (*group.producers, *group.consumers)}
    for name in names:
        owner = index.modules[name.rpartition(".")[0]]
        # A vector of an attention itself has an entry for each head, such as the sinks of GPT-OSS.
        is_vector = index.parameters[name].ndim == 1 and bool(list(owner.children()))
        if not (is_layer(owner) or is_unitwise_scale(owner) or isinstance(owner, nn.GroupNorm) or is_vector):
            raise UnknownStructureError(
                f"{name!r}: expected a parameter of a layer or batch norm, got one of a {type(owner).__name__}."
            )
        same = [other for other, parameter in index.parameters.items() if parameter is index.parameters[name]]
        # Other names of the module itself are no ties, unless it both makes and reads the units.
        owners = {id(index.modules[other.rpartition(".")[0]]) for other in same}
        if len(owners) > 1 or len(names.intersection(same)) > 1:
            raise UnknownStructureError(
                f"{name!r}: expected a parameter of its own, got one that is tied to another. Untie them first."
            )


def _replace(
    index: ModelIndex, name: str, dim: int, order: Sequence[int], std: float, optimizer: Optimizer | None
) -> None:
    """Replace a parameter by a rearranged one, in its module and its optimizer."""
    path, _, leaf = name.rpartition(".")
    owner, old = index.modules[path], index.parameters[name]
    # New units of a batch norm have scale 1, shift 0, mean 0 and variance 1: it does not change them.
    if is_layer(owner):
        new = nn.Parameter(rearrange(old, dim, order, std=std), old.requires_grad)
    else:
        new = nn.Parameter(rearrange(old, dim, order, mean=float(leaf == "weight")), old.requires_grad)
        if is_unitwise_scale(owner):
            _replace_statistics(owner, order)
    setattr(owner, leaf, new)
    if optimizer is not None:
        _follow(optimizer, old, new, lambda tensor: rearrange(tensor, dim, order))


def _replace_statistics(norm: nn.Module, order: Sequence[int]) -> None:
    """Rearrange a batch norm's statistics, unless an earlier parameter of the norm has done so."""
    for name, buffer in norm.named_buffers(recurse=False):
        if buffer.dim() == 1 and buffer.shape != (len(order),):
            setattr(norm, name, rearrange(buffer, 0, order, mean=float(name == "running_var")))


def _follow(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, change: Callable[[Tensor], Tensor]) -> None:
    """Let an optimizer continue with a new parameter, and with its state in the same order."""
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
    # State is keyed by the parameter object, which is new.
    if old in optimizer.state:
        state = optimizer.state.pop(old)
        optimizer.state[new] = {key: change(value) if _is_like(value, old) else value for key, value in state.items()}


def _is_like(value: object, parameter: Tensor) -> bool:
    """Return whether an entry of the state has the parameter's shape; Adam's step count has not."""
    return isinstance(value, Tensor) and value.shape == parameter.shape
