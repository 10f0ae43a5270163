"""New units: the first step of expand, route, ablate (arXiv 2410.04332, section 4.2.2)."""

from typing import Literal

from torch import nn
from torch.optim import Optimizer

from lightning_vista.routing.surgery.resizing import resize, sources_with_new
from lightning_vista.routing.units import UnitGroup, unit_group
from lightning_vista.routing.units.index import ModelIndex


def expand(
    model: nn.Module,
    module: str,
    num_units: int,
    at: Literal["output", "input"] = "output",
    unit_size: int = 1,
    dim: int = -1,
    init: Literal["zero_consumers", "normal"] = "zero_consumers",
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
    group = unit_group(model, module, at, unit_size, dim)
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
    return unit_group(model, module, at, unit_size, dim)
