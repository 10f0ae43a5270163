"""Reach: the parameters that data of each group can change, found by trying."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.router import Router

#: Group -> factor of the gradient -> share of a parameter's entries that get the gradient times this factor.
Factors = Mapping[str, Mapping[float, float]]
#: A number of samples, or memberships by the identity of the rule.
Samples = int | Mapping[int, Tensor]


def reach(
    model: nn.Module, routers: Sequence[Router], samples: Samples, loss: Callable[[], Tensor]
) -> Mapping[str, Mapping[str, float]]:
    """Measure how much of each parameter gets a gradient when all data belongs to one group.

    Args:
        model: The model, in training mode.
        routers: Routers that are attached to the model.
        samples: The number of samples in the batch behind `loss`, or the batch's memberships, see `Router.compute`: a
            rule of tokens on a matrix of all tokens needs their shape.
        loss: Calls the model on the batch and returns the loss.

    Returns:
        Plain name of each trainable parameter -> group -> share from 0 to 1; zeros where no group reaches it.

    Raises:
        ValueError: If no router has routes.

    Example:
        >>> from lightning_vista.routing import LabelRule, Route
        >>> model = nn.Linear(2, 4)
        >>> rule = LabelRule("label", {"low": [0], "high": [1]})
        >>> router = Router([Route("", rule, {"low": "0:1", "high": "rest"})])
        >>> router.attach(model)
        >>> reach(model, [router], 3, lambda: model(torch.ones(3, 2)).sum())["bias"]
        {'low': 0.25, 'high': 0.75}
    """
    return shares_of(reach_by_factor(model, routers, samples, loss))


def shares_of(factors: Mapping[str, Factors]) -> Mapping[str, Mapping[str, float]]:
    """Return the share of each parameter that each group trains, whatever the factor.

    Args:
        factors: Parameter -> group -> factor -> share.
    """
    return {
        name: {group: min(1.0, sum(shares.values())) for group, shares in groups.items()}
        for name, groups in factors.items()
    }


def reach_by_factor(
    model: nn.Module, routers: Sequence[Router], samples: Samples, loss: Callable[[], Tensor]
) -> Mapping[str, Factors]:
    """Measure how much of each parameter gets which multiple of its gradient when all data belongs to one group.

    This takes one forward and backward pass for each group, and one without routing. Shares are relative to the entries
    that at least one group reaches: embeddings of absent tokens, or units that are never active, say nothing about
    routes. All groups see the same random numbers. Random state and buffers are restored afterwards, and gradients are
    None.

    Where a group's gradient is not a multiple of the one without routing, as behind a layer of which a part is blocked,
    the factor is 1, or -1 if weights are negative and it points the other way.

    Args:
        model: The model, in training mode.
        routers: Routers that are attached to the model.
        samples: The number of samples in the batch behind `loss`, or the batch's memberships, see `Router.compute`: a
            rule of tokens on a matrix of all tokens needs their shape.
        loss: Calls the model on the batch and returns the loss.

    Returns:
        Plain name of each trainable parameter -> group -> factor -> share; no factor where the group trains nothing.

    Raises:
        ValueError: If no router has routes.

    Example:
        >>> from lightning_vista.routing import LabelRule, Route
        >>> model = nn.Linear(2, 4)
        >>> rule = LabelRule("label", {"forget": [0]})
        >>> weights = {"forget": {"first": 1.0, "others": -0.2}}
        >>> route = Route("", rule, {"first": "0:1", "others": "rest"}, weights=weights)
        >>> router = Router([route])
        >>> router.attach(model)
        >>> reach_by_factor(model, [router], 3, lambda: model(torch.ones(3, 2)).sum())["bias"]
        {'forget': {1.0: 0.25, -0.2: 0.75}}
    """
    by_router = {router: {group for route in router.routes for group in route.rule.groups} for router in routers}
    groups = dict.fromkeys(group for router in routers for route in router.routes for group in route.rule.groups)
    if not groups:
        raise ValueError("`routers`: expected at least one router with a route, got none.")
    with _restored(model):
        torch.autograd.backward(loss())
        plain = dict(_gradients(model))
    weights = _possible_weights(routers)
    touched: dict[str, list[Tensor]] = defaultdict(list)
    counted: dict[str, dict[str, dict[float, int]]] = defaultdict(dict)
    for group in groups:
        # A router whose rules lack this group stays silent: to its routes this data is ordinary.
        involved = [router for router, known in by_router.items() if group in known]
        with _restored(model), _all_of(group, samples, involved):
            torch.autograd.backward(loss())
            for name, gradient in _gradients(model):
                touched[name].append(gradient != 0)
                counted[name][group] = count_factors(gradient, plain[name], weights)
    unions = {name: max(int(torch.stack(masks).any(dim=0).sum()), 1) for name, masks in touched.items()}
    return {
        name: {group: {factor: n / unions[name] for factor, n in counts.items()} for group, counts in by_group.items()}
        for name, by_group in counted.items()
    }


def count_factors(routed: Tensor, plain: Tensor, weights: Sequence[float]) -> dict[float, int]:
    """Count the entries of a gradient that are a multiple of another one, by the factor.

    Args:
        routed: The gradient with routing.
        plain: The gradient without, of the same shape.
        weights: The factors that routes may have.

    Returns:
        Factor -> number of entries, without those that are zero.

    Example:
        >>> count_factors(torch.tensor([2.0, -0.5, 0.0]), torch.tensor([2.0, 1.0, 1.0]), [1.0, -0.5])
        {1.0: 1, -0.5: 1}
    """
    rest = routed != 0
    found: dict[float, int] = {}
    # One factor for all that is reached is the usual case, and the one that rounding disturbs least.
    if (single := _single_factor(routed[rest], plain[rest])) is not None:
        return {single: int(rest.sum())}
    for weight in weights:
        hits = rest & torch.isclose(routed, weight * plain, rtol=1e-3, atol=0.0)
        if count := int(hits.sum()):
            found[weight] = count
            rest &= ~hits
    if count := int(rest.sum()):
        is_opposite = min(weights) < 0 and bool((routed[rest] * plain[rest]).sum() < 0)
        factor = _single_factor(routed[rest], plain[rest]) or (-1.0 if is_opposite else 1.0)
        found[factor] = found.get(factor, 0) + count
    return found


def _single_factor(routed: Tensor, plain: Tensor) -> float | None:
    """Return the factor between two gradients if it is the same for all entries, else None."""
    energy = plain.double().square().sum()
    if not energy:
        return None
    factor = (routed.double() * plain.double()).sum() / energy
    is_exact = (routed.double() - factor * plain.double()).square().sum() <= 1e-6 * routed.double().square().sum()
    return float(f"{factor.item():.3g}") if is_exact else None


def _possible_weights(routers: Sequence[Router]) -> list[float]:
    """Return the weights of all routes, and products of two for data that passes two of them; 0 is none."""
    tables = [route.weight_table().flatten().tolist() for router in routers for route in router.routes]
    single = dict.fromkeys([1.0, *(weight for table in tables for weight in table if weight)])
    return list(dict.fromkeys([*single, *(one * other for one in single for other in single)]))


def _gradients(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradient of each trainable parameter, zeros where there is none."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield plain_name(name), torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


@contextmanager
def _all_of(group: str, samples: Samples, routers: Sequence[Router]) -> Iterator[None]:
    """Put all samples, or all tokens of rules of tokens, into one group within the context."""
    with ExitStack() as stack:
        for router in routers:
            stack.callback(router.clear)
            members = {}
            for rule in (route.rule for route in router.routes):
                shape = (samples,) if isinstance(samples, int) else samples[id(rule)].shape[:-1]
                own = torch.tensor([float(name == group) for name in rule.groups])
                members[id(rule)] = (rule.groups, own.expand(*shape, -1))
            # `Router.memberships` has one shape for all rules.
            router._set(members)
        yield


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Start without gradients; leave none, and restore buffers and random numbers."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.zero_grad(set_to_none=True)
    try:
        # Dropout must drop the same entries for all groups, and batch norms must not collect statistics.
        with torch.random.fork_rng():
            yield
    finally:
        model.zero_grad(set_to_none=True)
        for buffer, before in buffers:
            buffer.copy_(before)
