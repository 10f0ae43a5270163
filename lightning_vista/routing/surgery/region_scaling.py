"""Scaling of the regions of routes, in a forward pass or in the parameters."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_vista.routing.masking import Layout, scale_regions
from lightning_vista.routing.regions import Regions
from lightning_vista.routing.route import Route
from lightning_vista.routing.surgery.branches import scale_branch
from lightning_vista.routing.surgery.constant_units import acting, keeps_factor, remedy
from lightning_vista.routing.surgery.region_ablation import ablate_regions, is_whole_branch
from lightning_vista.routing.tap import Tap
from lightning_vista.routing.units import UnitGroup
from lightning_vista.routing.units.group import check_known
from lightning_vista.routing.units.parameter_index import ModelIndex


def scale_named_regions(x: Tensor, route: Route, factors: Mapping[str, float]) -> Tensor:
    """Multiply regions of a routed tensor by factors.

    Args:
        x: The tensor.
        route: The route with the place and the regions of the units.
        factors: Region -> factor; other regions stay.

    Returns:
        A tensor like `x`.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> route = Route("encoder", LabelRule("label", {"low": [0]}), regions={"low": "0:2", "high": "rest"})
        >>> import torch
        >>> scale_named_regions(torch.ones(1, 3), route, {"low": 0.5})
        tensor([[0.5000, 0.5000, 1.0000]])
    """
    place = route.place
    regions = Regions.parse(route.regions, place.count_units(x))
    weights = x.new_tensor([[factors.get(name, 1.0) for name in regions.units]])  # the same for all samples
    return scale_regions(x, weights, Layout(regions.entries(place.unit_size), place.dim, place.batch_dim))


def tap_factors(taps: Sequence[Tap], factors: Mapping[str, float]) -> list[tuple[Tap, dict[str, float]]]:
    """Distribute the factors of regions over routed modules, so that no unit is scaled twice.

    Args:
        taps: The routed modules.
        factors: Region -> factor.

    Returns:
        Pairs of a module and the factors of its regions that no module before has; modules without any are left out.
    """
    # Several routes may have one region, such as one route for each rule, also at different places of the same units.
    seen: set[tuple[UnitGroup | str, str]] = set()
    found = []
    for tap in taps:
        keys = {(tap.units or tap.key, region): region for region in tap.route.regions if region in factors}
        own = {region: factors[region] for key, region in keys.items() if key not in seen}
        seen |= set(keys)
        if own:
            found.append((tap, own))
    return found


@torch.no_grad()
def scale_parameters(model: nn.Module, taps: Sequence[Tap], factors: Mapping[str, float]) -> None:
    """Scale the regions of a model in its parameters, in place; regions whose factor is 0 are cut off.

    Args:
        model: The model.
        taps: Its routed modules.
        factors: Region -> factor; other regions stay.

    Raises:
        UnknownStructureError: If the parameters of units are not known, or cannot be cut.
        ValueError: If units cannot be cut, or something acts on them before they are read.
    """
    parameters = ModelIndex(model).parameters
    scaled = tap_factors(taps, {name: factor for name, factor in factors.items() if factor not in (0, 1)})
    for tap, own in scaled:
        _check_factors(model, tap, own)
    for tap, own in scaled:
        if is_whole_branch(model, tap, own) and len(own) == 1:
            owner, _, branch = tap.name.rpartition(".")
            scale_branch(model, owner, branch, *own.values())
            continue
        units, regions = tap.units or UnitGroup(0, ()), tap.regions
        check_known(units)
        if len(units.consumers) > 1 or regions is None:
            raise ValueError(f"{tap.name!r}: expected units that one layer reads, got norms before it too.")
        weights = torch.ones(units.size)
        for region, factor in own.items():
            weights[list(regions.units[region])] = factor
        reader = units.consumers[0]
        reader.scale(parameters[reader.name], weights)
    if off := [name for name, factor in factors.items() if factor == 0]:
        ablate_regions(model, taps, off, "slice", {})


def _check_factors(model: nn.Module, tap: Tap, factors: Mapping[str, float]) -> None:
    """Refuse a place before a function of which a multiple is not the function of the multiple, such as GELU."""
    units = tap.units
    if units is None or len(units.consumers) != 1 or (is_whole_branch(model, tap, factors) and len(factors) == 1):
        return
    if wrong := [factor for factor in factors.values() if not keeps_factor(units, factor)]:
        raise ValueError(
            f"{tap.name!r}: expected functions that keep the factor {wrong[0]:g} before {units.consumers[-1].name!r}, "
            f"such as ReLU or dropout, got {acting(units)}. {remedy(units)}"
        )
