"""Guards of optimizer steps: what a step's data must not train does not move."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from lightning_vista.routing.isolation import OptimizerIsolation
from lightning_vista.routing.parameter_tap import ParameterTap, in_any_process
from lightning_vista.routing.sharding import local
from lightning_vista.routing.step_weights import StepWeights
from lightning_vista.routing.strategies import MaskStrategy
from lightning_vista.routing.tap import Tap


class StepGuard:
    """The guard of one optimizer: a gradient of zero is not enough, since momentum and weight decay move parameters.

    Parameters of a `ParameterRoute` that received nothing lose their gradient before the step. With `isolates` so does
    every parameter whose gradient is zero throughout, and blocked units of the others are isolated.

    Args:
        optimizer: The optimizer.
        model: The model that contains its parameters.
        taps: The routed modules.
        parameter_taps: The parameters of routes on parameters.
        strategy: The strategy of the router.
        isolates: Whether blocked units are isolated, see `OptimizerIsolation`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        taps: Sequence[Tap],
        parameter_taps: Sequence[ParameterTap],
        strategy: MaskStrategy,
        isolates: bool,
    ) -> None:
        self._optimizer, self._strategy = optimizer, strategy
        self._parameter_taps = list(parameter_taps)
        self._weights = StepWeights(taps, model, optimizer) if isolates else None
        self._isolation = OptimizerIsolation(optimizer, model, strategy) if isolates else None

    def prepare(self) -> None:
        """Prepare a step, between the backward pass and the step; every process must call it."""
        for tap in self._parameter_taps:
            tap.hold(self._optimizer)
        if self._weights is None or self._isolation is None:
            return
        drop_zero_gradients(self._optimizer)
        self._weights.agree()
        blocked = self._weights.blocked(by_mask=self._strategy.isolates_readers)
        self._isolation.block(blocked, self._weights.silent())

    def remove(self) -> None:
        """Remove all hooks."""
        if self._weights is not None and self._isolation is not None:
            self._weights.remove()
            self._isolation.remove()


def drop_zero_gradients(optimizer: Optimizer) -> None:
    """Set the gradients to None that are zero in all entries, so that the optimizer skips their parameters.

    Args:
        optimizer: The optimizer.

    Example:
        >>> weight = nn.Parameter(torch.ones(2))
        >>> weight.grad = torch.zeros(2)
        >>> drop_zero_gradients(torch.optim.SGD([weight], lr=0.1))
        >>> weight.grad is None
        True
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    # A sparse gradient lists its rows: optimizers of sparse gradients move no others.
    parameters = [parameter for parameter in parameters if parameter.grad.layout == torch.strided]
    if not parameters:
        return
    parts = [local(parameter.grad) for parameter in parameters]
    parts = [part if part.numel() else part.new_zeros(1) for part in parts]  # of a process that has no rows
    highest = torch._foreach_norm(parts, float("inf"))
    # One transfer from the device for all of them.
    flags = torch.stack([norm.to(highest[0].device) != 0 for norm in highest]).tolist()
    if any(part is not parameter.grad for part, parameter in zip(parts, parameters, strict=True)):
        flags = in_any_process(flags, highest[0].device)  # of sharded gradients each process has a part
    for parameter, is_trained in zip(parameters, flags, strict=True):
        if not is_trained:
            parameter.grad = None
