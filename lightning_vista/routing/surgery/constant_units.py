"""Constants in place of units: what activations and the like make of them before the layer that reads the units."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_vista.routing.units import UnitGroup

_SAMPLES = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)


def constants_read(group: UnitGroup, values: Tensor) -> Tensor | None:
    """Return what a reader takes where the routed tensor is constant.

    Args:
        group: The units.
        values: The values of entries of the routed tensor `(entries,)`.

    Returns:
        The values of the same entries of the reader's input, in double precision on the CPU; None if something between
        the two is not known, or is not a function of single entries.

    Example:
        >>> from lightning_vista.routing import unit_group
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2))
        >>> constants_read(unit_group(model, "0"), torch.zeros(1))
        tensor([0.5000], dtype=torch.float64)
    """
    result: Tensor | None = values.detach().to("cpu", torch.float64)
    if group.between is None:
        return None
    for function in group.between:
        if result is not None and not _keeps_constants(function):
            result = _applied(function, result)
    return result


def adds_at_zero(group: UnitGroup) -> bool:
    """Return whether units that are zero in the routed tensor still add to what their reader returns.

    Args:
        group: The units. An unknown function before the reader is assumed to keep zero, as ReLU and GELU do.
    """
    read = constants_read(group, torch.zeros(1))
    return group.between is not None and (read is None or bool(read.any()))


def keeps_factor(group: UnitGroup, factor: float) -> bool:
    """Return whether a factor of the routed tensor is the same factor of the reader's input.

    Args:
        group: The units.
        factor: The factor.
    """
    # The largest of negated values is another one.
    if factor < 0 and any(isinstance(function, _MAXIMA) for function in group.between or ()):
        return False
    plain, scaled = constants_read(group, _SAMPLES), constants_read(group, factor * _SAMPLES)
    return plain is not None and scaled is not None and torch.allclose(scaled, factor * plain)


def acting(group: UnitGroup) -> str:
    """Return the names of what acts on units before their reader, for an error."""
    if group.between is None:
        return "a function that is not known"
    return ", ".join(getattr(function, "__name__", type(function).__name__) for function in group.between)


def remedy(group: UnitGroup) -> str:
    """Return the remedy for units on which something acts before their reader, for an error."""
    reader = group.consumers[-1].name.rpartition(".")[0]
    return f"Route what {reader!r} takes instead (`module: {reader}`, `at: input`)."


_MAXIMA = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)
_KEEPING = (nn.Identity, nn.Flatten, nn.modules.dropout._DropoutNd, nn.modules.pooling._AdaptiveAvgPoolNd, *_MAXIMA)


def _keeps_constants(function: Callable[[Tensor], Tensor]) -> bool:
    """Return whether a module returns the same constant in evaluation mode, also with a factor: dropout, pooling."""
    if isinstance(function, nn.modules.pooling._AvgPoolNd):
        # Zeros of the padding count as values.
        padding, counts = getattr(function, "padding", 0), getattr(function, "count_include_pad", True)
        return not counts or not any(padding if isinstance(padding, tuple) else (padding,))
    return isinstance(function, _KEEPING) or type(function).__module__ == "timm.layers.drop"


def _applied(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor | None:
    """Return a function of single entries of a vector; None if the function is another one."""
    if isinstance(function, nn.Module):
        # `forward` itself, without the hooks of routes.
        function = copy.deepcopy(function).eval().to("cpu", torch.float64).forward
    try:
        with torch.no_grad():
            together, alone = function(values), function(values[:, None])[:, 0]
    except (IndexError, RuntimeError, TypeError, ValueError):  # of a norm or a convolution that gets a plain vector
        return None
    return together if together.shape == values.shape and torch.allclose(together, alone) else None
