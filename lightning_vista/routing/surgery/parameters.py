"""Gives parameters rows or columns or takes them away, and updates everything that knows their shape."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.routing.units import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.endings import is_unitwise_scale
from lightning_vista.routing.units.parameter_index import ModelIndex, is_layer, join

#: The sizes of a layer, in the order of its weight's dimensions: linear, GPT-2's, convolution, batch norm.
_LAYER_SIZES = (("out_features", "in_features"), ("nx", "nf"), ("out_channels", "in_channels"), ("num_features",))
_HIDDEN_SIZES = ("n_inner", "intermediate_size")


def update_sizes(index: ModelIndex, group: UnitGroup) -> None:
    """Let modules and configurations say the sizes that parameters have.

    A configuration has one size for all layers. While layers differ, it keeps the size that it has, and a checkpoint of
    the model cannot be loaded by plain transformers; once they agree, it is given their size. The number of heads
    is given to configurations with a `head_dim` only (Llama's): others derive the width of heads from it.

    Args:
        index: The model, with its new parameters.
        group: The units that were added or taken away.
    """
    for owner in {piece.name.rpartition(".")[0] for piece in (*group.producers, *group.consumers)}:
        _update_layer(index.modules[owner])
    columns = group.consumers[-1]
    parent, _, reader = columns.name.rpartition(".")[0].rpartition(".")
    if _has_heads(index.modules[parent], group):
        _update_attention(index.modules[parent], index.length(columns), columns.unit_size)
    _update_config(index, parent, reader, group)


def _has_heads(module: nn.Module, group: UnitGroup) -> bool:
    return getattr(module, "head_dim", None) == group.consumers[-1].unit_size


def _update_layer(layer: nn.Module) -> None:
    for names in _LAYER_SIZES:
        if hasattr(layer, names[0]):
            shape = layer.get_parameter("weight").shape
            for name, size in zip(names, shape, strict=False):  # a convolution's kernel comes after
                setattr(layer, name, size)


def _update_attention(attention: nn.Module, width: int, head_dim: int) -> None:
    """GPT-Neo and timm count heads, GPT-2 splits its fused projection by the width, timm joins heads by it."""
    sizes = {"num_heads": width // head_dim, "split_size": width, "attn_dim": width}
    for name, size in sizes.items():
        if hasattr(attention, name):
            setattr(attention, name, size)


def _update_config(index: ModelIndex, parent: str, reader: str, group: UnitGroup) -> None:
    """Write the size that all layers of a transformers model have in common."""
    holder = _holder_of_config(index, parent)
    if holder is None:
        return
    config: Any = index.modules[holder].config
    kind, inside = type(index.modules[parent]), f"{holder}." if holder else ""
    peers = [path for path, module in index.modules.items() if type(module) is kind and path.startswith(inside)]
    width, *others = {index.length(index.columns(join(path, reader))[0]) for path in peers}
    if others:
        return
    if not _has_heads(index.modules[parent], group):
        setattr(config, next(name for name in _HIDDEN_SIZES if hasattr(config, name)), width)
    elif getattr(config, "head_dim", None):
        config.num_attention_heads = width // config.head_dim
        config.num_key_value_heads = config.num_attention_heads // max(piece.share for piece in group.producers)


def _holder_of_config(index: ModelIndex, path: str) -> str | None:
    """The outermost transformers model that a module is in."""
    parts = path.split(".") if path else []
    around = [".".join(parts[:length]) for length in range(len(parts) + 1)]
    return next((name for name in around if hasattr(getattr(index.modules[name], "config", None), "to_dict")), None)


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
