"""Ablation of the regions of routes, in a forward pass or in the parameters."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from lightning_vista.routing.regions import Regions
from lightning_vista.routing.route import Route
from lightning_vista.routing.surgery.branches import Branches, cut_branch
from lightning_vista.routing.surgery.constant_units import acting, adds_at_zero, remedy
from lightning_vista.routing.surgery.resizing_units import AblationMode, ablate
from lightning_vista.routing.tap import Tap
from lightning_vista.routing.units import UnitGroup


def replace_regions(x: Tensor, route: Route, names: Collection[str], values: Tensor | None = None) -> Tensor:
    """Replace regions of a routed tensor by zero, or by given values.

    Args:
        x: The tensor.
        route: The route with the place and the regions of the units.
        names: The names of the regions.
        values: One value for each entry along the dimension of units; zeros by default.

    Returns:
        A tensor like `x`.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> route = Route("encoder", LabelRule("label", {"low": [0]}), regions={"low": "0:2", "high": "rest"})
        >>> import torch
        >>> replace_regions(torch.ones(1, 3), route, ["low"], torch.tensor([5.0, 6.0, 7.0]))
        tensor([[5., 6., 1.]])
    """
    place = route.place
    regions = Regions.parse(route.regions, place.count_units(x))
    replaced = x.clone()
    units_last = replaced.movedim(place.dim, -1)
    for name, entries in zip(regions.units, regions.entries(place.unit_size), strict=True):
        if name in names:
            units_last[..., entries] = 0 if values is None else values.to(x)[entries]
    return replaced


def ablate_regions(
    model: nn.Module,
    taps: Sequence[Tap],
    regions: Sequence[str],
    mode: AblationMode,
    means: Mapping[str, Tensor],
) -> None:
    """Remove regions from a model, in place.

    Args:
        model: The model.
        taps: Its routed modules, whose units must be known.
        regions: The names of the regions.
        mode: "zero", "mean" or "slice", see `ablate`.
        means: The mean of each routed tensor for "mean", by `Tap.key`.

    Raises:
        UnknownStructureError: If the columns that read the units are not known, or if parameters cannot be cut.
        ValueError: If the units cannot be removed in this mode, as whole branches in "mean", or units that are zero in
            the routed tensor would still add something, as before a sigmoid.
    """
    # Several routes may name the same units; a slice shifts indices, so the units of a layer must go in one call.
    by_units: dict[UnitGroup, set[int]] = defaultdict(set)
    whole = dict.fromkeys(tap.name for tap in taps if is_whole_branch(model, tap, regions))
    if mode == "mean" and whole:
        raise ValueError(f"`mode`: expected 'zero' or 'slice' for whole branches, got 'mean' for {list(whole)}.")
    chosen = [tap for tap in taps if tap.name not in whole and not set(regions).isdisjoint(tap.route.regions)]
    if mode != "mean":
        _check_zero(chosen)
    for tap in chosen:
        if not tap.units or not tap.regions:
            continue
        done = by_units[tap.units]
        own = {unit for name in regions for unit in tap.regions.units.get(name, ())} - done
        done |= own
        # Means are those of the tap's own place, before or after an activation.
        if mode == "mean" and own:
            ablate(model, tap.units, sorted(own), mode, means.get(tap.key))
    for group, units in by_units.items() if mode != "mean" else ():
        ablate(model, group, sorted(units), mode)
    # Last, since cutting the last branch of an MLP renames the parameters of its old part.
    for name in whole:
        owner, _, branch = name.rpartition(".")
        cut_branch(model, owner, branch)


def _check_zero(taps: Sequence[Tap]) -> None:
    """Refuse places at which zero is not nothing, so that removed units would not be what a test has measured."""
    for tap in taps:
        if tap.units and tap.units.consumers and adds_at_zero(tap.units):
            raise ValueError(
                f"{tap.name!r}: expected functions that keep zero before {tap.units.consumers[-1].name!r}, got "
                f"{acting(tap.units)}, behind which units of zero still add something. {remedy(tap.units)}"
            )


def is_whole_branch(model: nn.Module, tap: Tap, regions: Collection[str]) -> bool:
    """Return whether regions make up all of a branch.

    Args:
        model: The model.
        tap: One of its routed modules.
        regions: The names of the regions.
    """
    owner, _, part = tap.name.rpartition(".")
    branches = model.get_submodule(owner)
    is_branch = isinstance(branches, Branches) and part in branches.names
    return is_branch and tap.place.at == "output" and set(tap.route.regions) <= set(regions)
