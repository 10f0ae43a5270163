"""Adds units to a layer, and takes them away again."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.options import check_word
from lightning_vista.routing.place import At, Place
from lightning_vista.routing.surgery.parameters import check_readers, resize, sources_with_new, sources_without
from lightning_vista.routing.units import UnitGroup, find_units
from lightning_vista.routing.units.parameter_index import ModelIndex

Init = Literal["zero_consumers", "normal"]
AblationMode = Literal["slice", "zero", "mean"]


def expand(
    model: nn.Module,
    module: str,
    num_units: int,
    at: At = "output",
    unit_size: int = 1,
    dim: int = -1,
    init: Init = "zero_consumers",
    optimizer: Optimizer | None = None,
) -> UnitGroup:
    """Add units to a layer, in place: hidden units of an MLP, heads of an attention, channels of a convolution.

    New units come after the old ones. The rows that make them are drawn from a normal distribution with the standard
    deviation that the layer's parameter has. The width of the residual stream cannot be expanded: norms over a wider
    stream would change what the model computes.

    While layers of a transformers model differ in size, its configuration cannot describe it: `ablate` the new units
    before `save_pretrained`. Once all layers are expanded alike, the configuration follows, but for the heads of
    GPT-2 and GPT-Neo, whose configurations derive the width of a head from their number.

    Args:
        model: The model; built, and not yet given to an optimizer, unless that is named too.
        module: The plain name of a module whose output or input has the units, as in a route.
        num_units: How many units are added; where heads share keys and values a multiple of those that do.
        at: Whether units are in what the module returns or in what it is given.
        unit_size: Consecutive entries of a unit: for heads their width.
        dim: The dimension of units: -1, or 1 for the channels of convolutions.
        init: "zero_consumers" lets the columns that read the new units start at zero, so that the model computes what
            it did; "normal" draws them like the rows.
        optimizer: One that has the model's parameters: it goes on with the new ones, and new entries of its state
            are zero.

    Returns:
        The units, old and new.

    Raises:
        UnknownStructureError: If it is not known which parameters make and read the units, or if they cannot change
            their shape.
        ValueError: If the number of units is not positive, or no multiple of heads that share keys.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> expand(model, "1", num_units=2).size
        5
        >>> model
        Sequential(
          (0): Linear(in_features=4, out_features=5, bias=True)
          (1): ReLU()
          (2): Linear(in_features=5, out_features=2, bias=True)
        )
    """
    return expand_at(model, module, Place((module,), at, dim, unit_size=unit_size), num_units, init, optimizer)


def expand_at(
    model: nn.Module,
    module: str,
    place: Place,
    num_units: int,
    init: Init = "zero_consumers",
    optimizer: Optimizer | None = None,
) -> UnitGroup:
    """Add units to a place at one of its modules, in place, see `expand`.

    Args:
        model: The model.
        module: The plain name of the module.
        place: How the module's tensor is read.
        num_units: The number of units to add.
        init: How the columns start that read the new units.
        optimizer: An optimizer whose parameters and state follow.

    Returns:
        The units, old and new.

    Raises:
        UnknownStructureError: If the units cannot be resized.
        ValueError: If this number of units cannot be added.
    """
    check_word("init", init, get_args(Init))
    group = find_units(model, module, place)
    share = max((piece.share for piece in group.producers), default=1)
    if num_units < 1 or num_units % share:
        raise ValueError(f"Expected a positive multiple of {share} new units for {module!r}, got {num_units}.")
    drawn = {
        piece.name for piece in (group.producers if init == "zero_consumers" else group.producers + group.consumers)
    }
    parameters = ModelIndex(model).parameters
    resize(
        model,
        group,
        lambda length, pieces: sources_with_new(length, pieces, group.size, num_units),
        stds={name: parameters[name].std(correction=0).item() for name in drawn},
        optimizer=optimizer,
    )
    return find_units(model, module, place)


@torch.no_grad()
def ablate(
    model: nn.Module,
    group: UnitGroup,
    units: Sequence[int],
    mode: AblationMode = "slice",
    means: Tensor | None = None,
    optimizer: Optimizer | None = None,
) -> None:
    """Take units away, in place.

    Keys and values that heads share go with the last of these heads.

    Args:
        model: The model.
        group: The units of a layer, from `unit_group` or `expand`.
        units: Those to take away.
        mode: "slice" cuts them off, so that parameters get the shapes that they had before an expansion. "zero" sets
            all their rows and columns to zero, which computes the same. "mean" also adds what their mean activation
            contributed to the readers' biases.
        means: For "mean", the mean activation of each entry of the routed tensor `(size * unit_size,)`.
        optimizer: One that has the model's parameters: its state is cut off or set to zero with them.

    Raises:
        UnknownStructureError: If the columns that read the units are not known, or if parameters cannot be cut.
        ValueError: If units are not in the group, if heads are cut apart that share keys, if all units are cut, or
            if means are missing or there is no bias that takes them.

    Example:
        >>> from lightning_vista.routing.units import unit_group
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> ablate(model, unit_group(model, "1"), [0])
        >>> model[0].weight.shape
        torch.Size([2, 4])
    """
    check_word("mode", mode, get_args(AblationMode))
    if outside := [unit for unit in units if not 0 <= unit < group.size]:
        raise ValueError(f"Expected units from 0 to {group.size - 1}, got {outside}.")
    if mode == "slice":
        _check_slice(group, units)
        resize(model, group, lambda length, pieces: sources_without(length, pieces, units), {}, optimizer)
        return
    check_readers(group)
    if mode == "mean":
        _add_means(model, group, units, means)
    _zero(model, group, units, optimizer)


def _check_slice(group: UnitGroup, units: Sequence[int]) -> None:
    if len(set(units)) == group.size:
        raise ValueError(f"Expected to keep some of {group.size} units, got all to slice: use the mode 'zero'.")
    for piece in group.producers:
        if len(piece.entries(units)) * piece.share != len(set(units)) * piece.unit_size:
            raise ValueError(
                f"Units that share entries of {piece.name!r} can only be sliced {piece.share} at a time, got "
                f"{sorted(set(units))}: use the mode 'zero'."
            )


def _zero(model: nn.Module, group: UnitGroup, units: Sequence[int], optimizer: Optimizer | None) -> None:
    parameters = ModelIndex(model).parameters
    for piece in (*group.producers, *group.consumers):
        parameter = parameters[piece.name]
        state = optimizer.state.get(parameter, {}) if optimizer else {}
        entries = torch.tensor(piece.entries(units), dtype=torch.long, device=parameter.device)
        for tensor in (parameter, *state.values()):
            if isinstance(tensor, Tensor) and tensor.shape == parameter.shape:
                tensor.index_fill_(piece.dim, entries, 0)


def _add_means(model: nn.Module, group: UnitGroup, units: Sequence[int], means: Tensor | None) -> None:
    """Let the readers' bias say what the units say on average."""
    parameters = ModelIndex(model).parameters
    reader = group.consumers[-1]
    weight = parameters[reader.name]
    if len(group.consumers) > 1 or weight.dim() != 2 or not group.shared:
        raise ValueError(
            f"The mode 'mean' needs units that one linear layer with a bias reads, but {reader.name!r} is read with "
            f"{len(group.consumers) - 1} norms before it, {weight.dim()} dimensions and {len(group.shared)} biases."
        )
    expected = (weight.shape[reader.dim],)
    if means is None or means.shape != expected:
        raise ValueError(
            f"Expected means {expected}, one for each entry, got {None if means is None else tuple(means.shape)}."
        )
    chosen = means.to(weight)[reader.entries(units)]
    said = torch.tensordot(chosen, reader.select(weight, units), dims=([0], [reader.dim]))
    parameters[group.shared[0]].add_(said)
