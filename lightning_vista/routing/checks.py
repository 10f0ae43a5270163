"""Checks before and during gradient routing; each reports everything that is wrong at once."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_vista.routing.naming import modules_by_name, plain_name
from lightning_vista.routing.parameter_route import ParameterRoute
from lightning_vista.routing.parameter_tap import ParameterTap
from lightning_vista.routing.regions import Regions
from lightning_vista.routing.route import Route
from lightning_vista.routing.routing_error import RoutingError
from lightning_vista.routing.sharding import local, local_entries
from lightning_vista.routing.tap import Tap
from lightning_vista.routing.units import UnitGroup, UnknownStructureError, find_units
from lightning_vista.routing.units.experts import is_gate
from lightning_vista.routing.units.group import WrongDimensionError
from lightning_vista.routing.units.parameter_index import is_sequential

#: Rounding in half precision may lift a sum of memberships above 1 by this much.
_TOLERANCE = 1e-3


#: What must be known of units: nothing, some of their parameters, all that make them, or also all that read them.
UnitNeeds = Literal["nothing", "something", "makers", "makers and readers"]


def find_taps(routes: Sequence[Route], model: nn.Module, needs: UnitNeeds = "nothing") -> list[Tap]:
    """Find the modules that routes name, each with its units.

    Args:
        routes: The routes, on modules.
        model: The model.
        needs: The parameters of units without which a module is a fault.

    Returns:
        One tap for each route and module.

    Raises:
        RoutingError: If anything is wrong; the error lists all faults of all routes.
    """
    return find_all_taps(routes, model, needs)[0]


def find_all_taps(
    routes: Sequence[Route | ParameterRoute], model: nn.Module, needs: UnitNeeds = "nothing"
) -> tuple[list[Tap], list[ParameterTap]]:
    """Find the modules and the parameters that routes name.

    Args:
        routes: The routes.
        model: The model.
        needs: The parameters of units without which a module is a fault.

    Returns:
        One tap for each route and module, and one for each route on parameters.

    Raises:
        RoutingError: If anything is wrong; the error lists all faults of all routes.
    """
    taps: list[Tap] = []
    parameter_taps: list[ParameterTap] = []
    # Faults are collected over all routes: fixing a YAML one error at a time would cost one start of a run each.
    faults = [] if routes else ["`routes`: expected at least one route, got none."]
    for number, route in enumerate(routes):
        where = f"route {number} ({', '.join(route.patterns)})"
        faults += [f"{where}: {fault}" for fault in route.faults()]
        try:
            if isinstance(route, ParameterRoute):
                parameter_taps.append(ParameterTap(route, model))
                continue
            modules = route.place.modules(model)
        except ValueError as error:
            faults.append(f"{where}: {error}")
            continue
        for name, module in modules.items():
            try:
                # Unknown units are not a fault by themselves: the backward hook needs the tensor only.
                units, unknown = _units(model, name, route)
                regions = Regions.parse(route.regions, units.size) if units else None
                taps.append(Tap(name, module, route, regions, units))
            except ValueError as error:
                faults.append(f"{where}, {name or 'the model itself'}: {error}")
                continue
            if needs != "nothing" and (missing := _missing(name, units, unknown, needs)):
                faults.append(f"{where}: {missing}")
    faults += tied_leaks(taps, model)
    if faults:
        raise RoutingError(faults)
    return taps, parameter_taps


def _units(model: nn.Module, name: str, route: Route) -> tuple[UnitGroup | None, str]:
    """Return the units of a module, or None and the reason why they are unknown.

    Raises:
        WrongDimensionError: If the module has units, but in another dimension.
    """
    try:
        return find_units(model, name, route.place), ""
    except WrongDimensionError:
        raise  # the hook would route columns of images
    except UnknownStructureError as error:
        if route.at == "experts":
            raise  # a mixture has no other tensor that could be routed
        return None, str(error)


def _missing(name: str, units: UnitGroup | None, unknown: str, needs: UnitNeeds) -> str:
    """Return what is needed and not known of a module's units; empty if everything is."""
    if units is None:
        return unknown
    missing = "" if needs == "something" else units.missing(readers=needs == "makers and readers")
    if missing:
        return (
            f"{name!r}: expected units whose parameters are known, got a structure in which {missing} are not known "
            f"completely. {_REMEDY}"
        )
    return ""


#: Masking, isolation and surgery act on parameters; the backward hook alone needs the tensor only.
_REMEDY = "Route hidden units or heads of a known structure, or use the strategy 'gradient' without isolation."


def check_all_tokens(taps: Iterable[Tap], model: nn.Module) -> None:
    """Refuse to route inside mixtures of experts, where tensors have other tokens, or to zero the logits of gates.

    Args:
        taps: The routed modules.
        model: The model that contains them.

    Raises:
        RoutingError: If a module is within experts, or a route zeroes logits.
    """
    modules = modules_by_name(model)
    # A number of rows that fits by chance would give each row the weight of another token.
    faults = [
        f"{tap.name}: expected a module that sees all tokens, got one within experts, which see chosen tokens in an "
        "order of their own. Route whole experts (at='experts'), the gate, or the block around them."
        for tap in taps
        if any(map(_are_experts, _around(modules, tap.name)))
    ]
    faults += [
        f"{tap.name}: expected a gate without `forward`, whose logits would choose experts as zeros do too, got "
        f"{tap.route.forward}. Zero whole experts instead (at='experts')."
        for tap in taps
        if is_gate(tap.module) and tap.place.at == "output" and tap.route.forward
    ]
    if faults:
        raise RoutingError(faults)


def _around(modules: Mapping[str, nn.Module], name: str) -> Iterator[nn.Module]:
    """Yield the modules around a module whose own name is "experts"."""
    parts = name.split(".")
    yield from (modules[".".join(parts[: number + 1])] for number, part in enumerate(parts[:-1]) if part == "experts")


def _are_experts(module: nn.Module) -> bool:
    """Return whether a module named "experts" is the part of a mixture that transformers gives chosen tokens."""
    # Any model may call its parts experts; those of transformers are a list, or of a class named after them.
    return isinstance(module, nn.ModuleList) or type(module).__name__.endswith("Experts")


def tied_leaks(taps: Iterable[Tap], model: nn.Module) -> list[str]:
    """Find parameters that make routed units and are also used where they are not routed.

    Args:
        taps: The routed modules.
        model: The model that contains them.

    Returns:
        One sentence for each of these parameters.
    """
    # A tied parameter is one tensor under several names. A leak is a tie between a routed and an unrouted name.
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(plain_name(name))
    tied = {name: same for same in names.values() for name in same if len(set(same)) > 1}
    made = {slice.name for tap in taps for slice in (tap.units.producers if tap.units else ())}
    modules, hooked = modules_by_name(model), {id(tap.module) for tap in taps}

    def is_routed(name: str, other: str) -> bool:
        return other in made or _is_alias(modules, name, other, hooked)

    return [
        f"{name} makes routed units, but is tied to {', '.join(sorted(outside))}, which all data trains. Untie the "
        "two or route another module."
        for name in sorted(made & set(tied))
        if (outside := {other for other in tied[name] if not is_routed(name, other)})
    ]


def _is_alias(modules: Mapping[str, nn.Module], name: str, other: str, hooked: Collection[int]) -> bool:
    """Return whether two names of a parameter are those of one module, all of whose calls may be routed."""
    path, other_path = (parameter.rpartition(".")[0] for parameter in (name, other))
    if modules[path] is not modules[other_path]:
        return False
    # What runs twice in a sequence writes two tensors. Both are routed only if the module itself is.
    around, other_around = (owner.rpartition(".")[0] for owner in (path, other_path))
    runs_twice = around == other_around and is_sequential(modules[around])
    return not runs_twice or id(modules[path]) in hooked


def check_memberships(members: Tensor, groups: Sequence[str], values: bool = True) -> None:
    """Refuse memberships that are not valid.

    Args:
        members: The memberships that a rule returned.
        groups: The names of the rule's groups.
        values: Whether to check values as well as the shape. On an accelerator this waits for the device.

    Raises:
        ValueError: If the shape is not `(batch[, tokens], groups)`, an entry is negative, or a row sums to more than 1.
    """
    if members.dim() not in (2, 3) or members.shape[-1] != len(groups):
        raise ValueError(
            f"`memberships`: expected the shape (batch, {len(groups)}) or (batch, tokens, {len(groups)}) for the "
            f"groups {list(groups)}, got {tuple(members.shape)}."
        )
    if not values or not members.numel():
        return
    total = members.sum(-1)
    # Written so that NaN, for which every comparison is false, is refused too.
    if not (members.min() >= 0 and total.max() <= 1 + _TOLERANCE):
        raise ValueError(
            f"`memberships`: expected values from 0 to 1 that add up to at most 1 over the groups {list(groups)}, got "
            f"values from {members.min():g} to {members.max():g} and sums up to {total.max():g}. Normalise them, or "
            "combine rules with MixtureRule."
        )


def check_fired(taps: Iterable[Tap]) -> None:
    """Refuse routes whose modules the first training step did not call.

    Args:
        taps: The routed modules after a step.

    Raises:
        RoutingError: If a routed module was not called.
    """
    faults = [
        f"{tap.name}: expected its {tap.place.at} to be masked in the first training step, but it never was. Check "
        "that the module is called in training and is in training mode. If the model was compiled and called before "
        "`fit`, call `torch.compiler.reset()` first."
        for tap in taps
        if not tap.fired
    ]
    if faults:
        raise RoutingError(faults)


def check_forbidden(blocked: Iterable[tuple[Tap, Sequence[int]]], model: nn.Module) -> bool:
    """Refuse gradients of units that every sample of the batch was forbidden to train.

    Args:
        blocked: The routed modules and their blocked units; modules whose units have unknown parameters are skipped.
        model: The model after a backward pass that started without gradients.

    Returns:
        False if gradients overflowed, as with a loss scaler in the first steps: 0 times infinity tells nothing.

    Raises:
        RoutingError: If the parameters that make a blocked region got a gradient by a path around the routed tensor.
    """
    # The rows that make a blocked unit get exactly zero through it, so any other gradient came by another path.
    named = model.named_parameters(remove_duplicate=False)
    gradients = {plain_name(name): parameter.grad for name, parameter in named}
    faults, is_finite = [], True
    for tap, units in blocked:
        for part in tap.units.producers if tap.units and units else ():
            grad = gradients.get(part.name)
            if grad is None:
                continue
            entries = local_entries(grad, part.dim, torch.tensor(part.entries(units), device=grad.device))
            got = local(grad).index_select(part.dim, entries)
            is_finite &= bool(got.isfinite().all())
            if got.nan_to_num(0, 0, 0).any():
                faults.append(
                    f"{part.name} got a gradient in units of {tap.name} that this batch must not train. Check whether "
                    "another path reads them around the routed module."
                )
    if faults:
        raise RoutingError(faults)
    return is_finite
