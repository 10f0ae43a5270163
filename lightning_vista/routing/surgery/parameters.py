"""Resizing of parameters, and of everything that knows their shape."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.routing.units import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.endings import is_unitwise_scale
from lightning_vista.routing.units.group import check_known
from lightning_vista.routing.units.parameter_index import ModelIndex, is_layer, join

#: Size attributes of layers, in the order of the weight's dimensions: linear, GPT-2's, convolution, norm.
_LAYER_SIZES = (("out_features", "in_features"), ("nx", "nf"), ("out_channels", "in_channels"), ("num_features",))
_HIDDEN_SIZES = ("n_inner", "intermediate_size")


def update_sizes(index: ModelIndex, group: UnitGroup) -> None:
    """Update the sizes that modules and configurations state to those of their parameters.

    A configuration has one size for all layers. While layers differ, it keeps its size, and plain transformers cannot
    load a checkpoint of the model; once layers agree, it gets their size. Only configurations with a `head_dim`
    (Llama's) get the number of heads: others derive the width of heads from it.

    Args:
        index: The model, with its new parameters.
        group: The units that were resized.
    """
    for owner in {piece.name.rpartition(".")[0] for piece in (*group.producers, *group.consumers)}:
        _update_layer(index.modules[owner])
    columns = group.consumers[-1]
    parent, _, reader = columns.name.rpartition(".")[0].rpartition(".")
    if _has_heads(index.modules[parent], group):
        _update_attention(index.modules[parent], index.length(columns), columns.unit_size)
    _update_config(index, parent, reader, group)


def _has_heads(module: nn.Module, group: UnitGroup) -> bool:
    """Return whether the units are the heads of an attention."""
    return getattr(module, "head_dim", None) == group.consumers[-1].unit_size


def _update_layer(layer: nn.Module) -> None:
    """Set the sizes of a layer to the shape of its weight."""
    for names in _LAYER_SIZES:
        if hasattr(layer, names[0]):
            shape = layer.get_parameter("weight").shape
            for name, size in zip(names, shape, strict=False):  # a convolution's kernel comes after
                setattr(layer, name, size)


def _update_attention(attention: nn.Module, width: int, head_dim: int) -> None:
    """Set an attention's sizes: GPT-Neo and timm count heads, GPT-2 and timm also keep the width."""
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
    # The configuration can state one size only; if layers differ it keeps the old one, see above.
    width, *others = {index.length(index.columns(join(path, reader))[0]) for path in peers}
    if others:
        return
    if not _has_heads(index.modules[parent], group):
        setattr(config, next(name for name in _HIDDEN_SIZES if hasattr(config, name)), width)
    elif getattr(config, "head_dim", None):
        config.num_attention_heads = width // config.head_dim
        config.num_key_value_heads = config.num_attention_heads // max(piece.share for piece in group.producers)


def _holder_of_config(index: ModelIndex, path: str) -> str | None:
    """Return the name of the outermost transformers model around a module."""
    # From the outside inwards: inner modules of transformers share the configuration of the model around them.
    parts = path.split(".") if path else []
    around = [".".join(parts[:length]) for length in range(len(parts) + 1)]
    return next((name for name in around if hasattr(getattr(index.modules[name], "config", None), "to_dict")), None)


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
    for piece in sorted(pieces, key=lambda piece: piece.start, reverse=True):
        end = piece.start + size // piece.share * piece.unit_size
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
) -> None:
    """Rearrange all parameters of units, in place.

    Args:
        model: The model; its modules stay, with new parameters and sizes.
        group: The units.
        sources: The function from the length of a dimension and the slices along it to the sources of its new entries.
        stds: The standard deviation of new entries in layers' parameters, by name; 0 for others. New entries of batch
            norms are neutral.
        optimizer: An optimizer whose parameters and state follow.

    Raises:
        UnknownStructureError: If not all parameters of the units are known, or one cannot change its shape.
    """
    index = ModelIndex(model)
    check_known(group)
    _check_owners(index, group)
    # Pieces of one parameter and dimension, such as fused queries, keys and values, are resized at once.
    dimensions: dict[tuple[str, int], list[ParameterSlice]] = defaultdict(list)
    for piece in (*group.producers, *group.consumers):
        dimensions[piece.name, piece.dim].append(piece)
    for (name, dim), pieces in dimensions.items():
        order = sources(index.parameters[name].shape[dim], pieces)
        _replace(index, name, dim, order, stds.get(name, 0.0), optimizer)
    # A new index, since the old one still holds the parameters from before.
    update_sizes(ModelIndex(model), group)


def _check_owners(index: ModelIndex, group: UnitGroup) -> None:
    """Refuse parameters that cannot change their shape; called before anything changes."""
    uses = [id(parameter) for parameter in index.parameters.values()]
    for name in {piece.name for piece in (*group.producers, *group.consumers)}:
        owner = index.modules[name.rpartition(".")[0]]
        if not is_layer(owner) and not is_unitwise_scale(owner):
            raise UnknownStructureError(
                f"{name!r}: expected a parameter of a layer or batch norm, got one of a {type(owner).__name__}."
            )
        if uses.count(id(index.parameters[name])) > 1:
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
