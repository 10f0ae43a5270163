"""Reach: the parameters that data of each group can change, found by trying."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.router import Router


def reach(
    model: nn.Module, routers: Sequence[Router], num_samples: int, loss: Callable[[], Tensor]
) -> Mapping[str, Mapping[str, float]]:
    """Measure how much of each parameter gets a gradient when all data belongs to one group.

    This takes one forward and backward pass for each group. Shares are relative to the entries that at least one group
    reaches: embeddings of absent tokens, or units that are never active, say nothing about routes. All groups see the
    same random numbers. Random state and buffers are restored afterwards, and gradients are None.

    Args:
        model: The model, in training mode.
        routers: Routers that are attached to the model.
        num_samples: The number of samples in the batch behind `loss`.
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
    by_router = {router: {group for route in router.routes for group in route.rule.groups} for router in routers}
    groups = dict.fromkeys(group for router in routers for route in router.routes for group in route.rule.groups)
    if not groups:
        raise ValueError("`routers`: expected at least one router with a route, got none.")
    touched: dict[str, list[Tensor]] = defaultdict(list)
    for group in groups:
        # A router whose rules lack this group stays silent: to its routes this data is ordinary.
        involved = [router for router, known in by_router.items() if group in known]
        with _restored(model), _all_of(group, num_samples, involved):
            torch.autograd.backward(loss())
            for router in involved:
                router.mask_parameters()
            # Whether an entry has a gradient, and not its size: a weight of 0.01 still trains it.
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    touched[plain_name(name)].append(_touched(parameter))
    return {name: dict(zip(groups, _shares(masks), strict=True)) for name, masks in touched.items()}


@contextmanager
def _all_of(group: str, num_samples: int, routers: Sequence[Router]) -> Iterator[None]:
    """Put all samples into one group within the context."""
    with ExitStack() as stack:
        for router in routers:
            router.start_step()
            stack.callback(router.start_step)
            stack.enter_context(router.memberships({group: torch.ones(num_samples)}))
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


def _touched(parameter: Tensor) -> Tensor:
    """Return a mask of the entries that have a gradient."""
    return torch.zeros_like(parameter, dtype=torch.bool) if parameter.grad is None else parameter.grad != 0


def _shares(masks: Sequence[Tensor]) -> list[float]:
    """Return the share of each mask in the union of all."""
    union = int(torch.stack(list(masks)).any(dim=0).sum())
    return [int(mask.sum()) / max(union, 1) for mask in masks]
