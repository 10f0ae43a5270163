"""Addition of units to a layer, and their removal."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.options import check_word
from lightning_vista.routing.place import At, Place
from lightning_vista.routing.surgery.constant_units import acting, constants_read, remedy
from lightning_vista.routing.surgery.parameters import resize, sources_with_new, sources_without
from lightning_vista.routing.units import UnitGroup, UnknownStructureError, find_units
from lightning_vista.routing.units.group import check_known
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

    New units follow the old ones. The rows that make them are drawn from a normal distribution with the standard
    deviation of the layer's parameter. The width of the residual stream cannot be expanded: norms over a wider stream
    would change what the model computes.

    While layers of a transformers model differ in size, its configuration cannot describe it: `ablate` the new units
    before `save_pretrained`. Once all layers are expanded alike, the configuration follows. Exceptions are the heads of
    families whose configurations derive the width of a head from their number, see `docs/families.md`.

    Args:
        model: The model, fully built. If an optimizer already has its parameters, pass `optimizer`.
        module: The plain name of a module whose output or input has the units, as in a route.
        num_units: The number of new units; where heads share keys and values, a multiple of those that do.
        at: Whether the units are in what the module returns or in what it is given.
        unit_size: Consecutive entries of a unit, such as the width of an attention head.
        dim: The dimension of units: -1, or 1 for the channels of convolutions.
        init: The start of the columns that read the new units: "zero_consumers" for zero, so that the model computes
            the same as before; "normal" to draw them like the rows.
        optimizer: An optimizer that has the model's parameters: it continues with the new ones, and new entries of its
            state are zero.

    Returns:
        The units, old and new.

    Raises:
        UnknownStructureError: If the parameters that make and read the units are not known, or cannot change their
            shape.
        ValueError: If the number of units is not positive or not a multiple of the heads that share keys, or if `at`
            or `init` is another word.

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
        place: The way to read the module's tensor.
        num_units: The number of new units.
        init: The start of the columns that read the new units.
        optimizer: An optimizer whose parameters and state follow.

    Returns:
        The units, old and new.

    Raises:
        UnknownStructureError: If the units cannot be resized.
        ValueError: If this number of units cannot be added, or `init` is another word.
    """
    check_word("init", init, get_args(Init))
    group = find_units(model, module, place)
    # New heads come with keys and values of their own, so in the multiples in which old heads share theirs.
    share = max((piece.share for piece in group.producers), default=1)
    if num_units < 1 or num_units % share:
        raise ValueError(f"`num_units`: expected a positive multiple of {share} for {module!r}, got {num_units}.")
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
        is_exact=True,
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
    """Remove units, in place.

    Keys and values that heads share are removed with the last of these heads.

    Args:
        model: The model.
        group: The units of a layer, from `unit_group` or `expand`.
        units: The indices of the units to remove.
        mode: "slice" cuts units off, so that parameters get the shapes from before an expansion. "zero" sets all their
            rows and columns to zero, which computes the same. "mean" also adds the contribution of their mean
            activation to the readers' biases.
        means: The mean of each entry of the routed tensor for "mean" `(size * unit_size,)`. Before an activation it is
            the activation of the mean that the reader takes.
        optimizer: An optimizer that has the model's parameters: its state is sliced or zeroed with them.

    Raises:
        UnknownStructureError: If the columns that read the units are not known, or if parameters cannot be cut.
        ValueError: If `mode` is another word, units do not exist, a slice separates heads that share keys, all units
            would be cut, means are missing, no bias can take them, or it is not known what an activation makes of them.

    Example:
        >>> from lightning_vista.routing.units import unit_group
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> ablate(model, unit_group(model, "1"), [0])
        >>> model[0].weight.shape
        torch.Size([2, 4])
    """
    check_word("mode", mode, get_args(AblationMode))
    if outside := [unit for unit in units if not 0 <= unit < group.size]:
        raise ValueError(f"`units`: expected units from 0 to {group.size - 1}, got {outside}.")
    if mode == "slice":
        _check_slice(group, units)
        resize(model, group, lambda length, pieces: sources_without(length, pieces, units), {}, optimizer)
        return
    if group.read_by == "choice":
        raise UnknownStructureError(
            "`group`: expected units for which zero stands for nothing, got the logits of a gate. Ablate whole experts "
            "instead (at='experts'), or change the gate itself."
        )
    # Without a known reader nothing can silence units. Of their makers some are enough: nothing reads what is left.
    if not group.producers or not group.consumers:
        check_known(group)
    if mode == "mean":
        _add_means(model, group, units, means)
    _zero(model, group, units, optimizer)


def _check_slice(group: UnitGroup, units: Sequence[int]) -> None:
    """Refuse to slice all units, or some of the heads that share keys."""
    if len(set(units)) == group.size:
        raise ValueError(f"`units`: expected to keep some of {group.size} units, got all. Use the mode 'zero'.")
    for piece in group.producers:
        if len(piece.entries(units)) * piece.share != len(set(units)) * piece.unit_size:
            raise ValueError(
                f"`units`: expected all {piece.share} units that share entries of {piece.name!r} at a time, got "
                f"{sorted(set(units))}. Use the mode 'zero'."
            )


def _zero(model: nn.Module, group: UnitGroup, units: Sequence[int], optimizer: Optimizer | None) -> None:
    """Set the rows and columns of units to zero, in the parameters and the optimizer's state."""
    parameters = ModelIndex(model).parameters
    for piece in (*group.producers, *group.consumers):
        parameter = parameters[piece.name]
        state = optimizer.state.get(parameter, {}) if optimizer else {}
        entries = torch.tensor(piece.entries(units), dtype=torch.long, device=parameter.device)
        for tensor in (parameter, *state.values()):
            if isinstance(tensor, Tensor) and tensor.shape == parameter.shape:
                tensor.index_fill_(piece.dim, entries, 0)


def _add_means(model: nn.Module, group: UnitGroup, units: Sequence[int], means: Tensor | None) -> None:
    """Add the mean contribution of units to the readers' bias."""
    parameters = ModelIndex(model).parameters
    if not group.consumers:
        raise ValueError(
            "`mode`: expected units that a layer reads for 'mean', got whole experts. Use the mode 'zero'."
        )
    reader = group.consumers[-1]
    weight = parameters[reader.name]
    if len(group.consumers) > 1 or weight.dim() != 2 or not group.shared:
        raise ValueError(
            f"`mode`: expected units that one linear layer with a bias reads for 'mean', got {reader.name!r} with "
            f"{len(group.consumers) - 1} norms before it, {weight.dim()} dimensions and {len(group.shared)} biases."
        )
    expected = (weight.shape[reader.dim],)
    if means is None or means.shape != expected:
        raise ValueError(
            f"`means`: expected the shape {expected}, one for each entry, got "
            f"{None if means is None else tuple(means.shape)}."
        )
    if (read := constants_read(group, means)) is None:
        raise ValueError(
            f"`mode`: expected elementwise functions before {reader.name!r} for 'mean', got {acting(group)}. "
            f"{remedy(group)}"
        )
    # A constant input of the reader is a constant output: weight times mean, which the bias can hold.
    chosen = read.to(weight)[reader.entries(units)]
    said = torch.tensordot(chosen, reader.select(weight, units), dims=([0], [reader.dim]))
    parameters[group.shared[0]].add_(said)
