"""What is checked before and while gradients are routed; each check reports everything that is wrong at once."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.regions import Regions
from lightning_vista.routing.route import Route
from lightning_vista.routing.tap import Tap
from lightning_vista.routing.units import UnitGroup, UnknownStructureError, find_units

#: How far memberships may exceed 1 by rounding.
_TOLERANCE = 1e-3


class RoutingError(ValueError):
    """Routes that do not fit a model, or do not do what they say.

    Args:
        faults: A sentence for each fault.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("Cannot route gradients:\n" + "\n".join(f"- {fault}" for fault in self.faults))


def find_taps(routes: Sequence[Route], model: nn.Module, needs_units: bool = False) -> list[Tap]:
    """The modules that routes name, each with its units.

    Args:
        routes: The routes.
        model: The model.
        needs_units: Whether modules whose parameters are not known to belong to units are faults.

    Returns:
        One tap for each route and module.

    Raises:
        RoutingError: With all faults of all routes.
    """
    taps: list[Tap] = []
    faults = [] if routes else ["there are no routes."]
    for number, route in enumerate(routes):
        where = f"route {number} ({', '.join(route.patterns)})"
        faults += [f"{where}: {fault}" for fault in route.faults()]
        try:
            modules = route.place.modules(model)
        except ValueError as error:
            faults.append(f"{where}: {error}")
            continue
        for name, module in modules.items():
            units, unknown = _units(model, name, route)
            try:
                regions = Regions.parse(route.regions, units.size) if units else None
                taps.append(Tap(name, module, route, regions, units))
            except ValueError as error:
                faults.append(f"{where}, {name or 'the model itself'}: {error}")
            if needs_units and units is None:
                faults.append(f"{where}: {unknown}")
    faults += tied_leaks(taps, model)
    if faults:
        raise RoutingError(faults)
    return taps


def _units(model: nn.Module, name: str, route: Route) -> tuple[UnitGroup | None, str]:
    """The units of a module, or why they are not known."""
    try:
        return find_units(model, name, route.place), ""
    except UnknownStructureError as error:
        return None, str(error)


def tied_leaks(taps: Iterable[Tap], model: nn.Module) -> list[str]:
    """Parameters that make routed units and are also used where they are not routed.

    Args:
        taps: The routed modules.
        model: The model that has them.

    Returns:
        A sentence for each.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(plain_name(name))
    tied = {name: same for same in names.values() for name in same if len(set(same)) > 1}
    made = {slice.name for tap in taps for slice in (tap.units.producers if tap.units else ())}
    return [
        f"{name} makes routed units, but is tied to {', '.join(sorted(outside))}, which is trained by all data: untie "
        "them or route another module."
        for name in sorted(made & set(tied))
        if (outside := set(tied[name]) - made)
    ]


def check_memberships(members: Tensor, groups: Sequence[str], values: bool = True) -> None:
    """Refuse memberships that are none.

    Args:
        members: What a rule gave.
        groups: The rule's groups.
        values: Whether to look at the values too, for which an accelerator has to be waited for.

    Raises:
        ValueError: If the shape is not `(batch[, tokens], groups)`, or a row is negative or above 1 in sum.
    """
    if members.dim() not in (2, 3) or members.shape[-1] != len(groups):
        raise ValueError(
            f"Expected memberships of shape (batch, {len(groups)}) or (batch, tokens, {len(groups)}) for the groups "
            f"{list(groups)}, got {tuple(members.shape)}."
        )
    if not values or not members.numel():
        return
    total = members.sum(-1)
    if not (members.min() >= 0 and total.max() <= 1 + _TOLERANCE):
        raise ValueError(
            f"Expected memberships from 0 to 1 that add up to at most 1 over the groups {list(groups)}, got values "
            f"from {members.min():g} to {members.max():g} and sums up to {total.max():g}: normalise them, or combine "
            "rules with MixtureRule."
        )


def check_fired(taps: Iterable[Tap]) -> None:
    """Refuse routes that a training step passed by.

    Args:
        taps: The routed modules after a step.

    Raises:
        RoutingError: If one was not called.
    """
    faults = [
        f"{tap.name}: its {tap.route.at} was never masked in the first training step. Is the module used in training, "
        "is it in training mode, and was the model compiled and called before `fit` (then call "
        "`torch.compiler.reset()`)?"
        for tap in taps
        if not tap.fired
    ]
    if faults:
        raise RoutingError(faults)


def check_forbidden(taps: Iterable[Tap], model: nn.Module) -> None:
    """Refuse gradients where every sample of the batch was blocked.

    Args:
        taps: The routed modules; those whose parameters are not known are passed by.
        model: The model after a backward pass that began with no gradients.

    Raises:
        RoutingError: If the parameters that make a blocked region got a gradient, by another way than its units.
    """
    gradients = {plain_name(name): parameter.grad for name, parameter in model.named_parameters()}
    faults = []
    for tap in taps:
        blocked = tap.blocked_units()
        for part in tap.units.producers if tap.units and blocked else ():
            grad = gradients.get(part.name)
            entries = part.entries(blocked)
            if grad is not None and grad.index_select(part.dim, torch.tensor(entries, device=grad.device)).any():
                faults.append(
                    f"{part.name} got a gradient in units of {tap.name} that this batch must not train: are they used "
                    "elsewhere, past the routed module?"
                )
    if faults:
        raise RoutingError(faults)
