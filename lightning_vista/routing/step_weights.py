"""Weights of the samples behind the gradients that an optimizer's next step uses."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing.leaves import hook_leaf
from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.sharding import whole_parameter
from lightning_vista.routing.tap import Tap
from lightning_vista.routing.units import UnitGroup
from lightning_vista.routing.weight_bounds import WeightBounds

BlockedUnits = list[tuple[UnitGroup, list[int]]]


class StepWeights:
    """The weights of the samples behind one optimizer's gradients, for each routed module.

    A backward pass notes the weights of its samples when it reaches a parameter that the optimizer has. So each
    optimizer knows its own samples, however many optimizers, backward passes and steps one training step has. A step
    consumes what was noted: the next backward pass starts anew, as does one that finds gradients set to None. A second
    step without another backward pass has the samples of the first.

    Args:
        taps: The routed modules, whose units are known.
        model: The model that contains them.
        optimizer: The optimizer, whose parameters alone count; None for all parameters of the model.

    Example:
        >>> from lightning_vista.routing import LabelRule, Route, Router
        >>> model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> router = Router([Route("1", LabelRule("label", {"low": [0]}), {"low": "0:1", "high": "rest"})])
        >>> router.attach(model)
        >>> step = StepWeights(router.taps, model)
        >>> with router.memberships({"low": torch.ones(2)}):
        ...     model(torch.ones(2, 1)).sum().backward()
        >>> [units for _, units in step.blocked()]
        [[1, 2]]
        >>> step.remove()
        >>> router.detach()
    """

    def __init__(self, taps: Sequence[Tap], model: nn.Module, optimizer: Optimizer | None = None) -> None:
        self._optimizer = optimizer
        self._owned: set[int] = set()
        self._num_owned = -1
        self._handles: list[RemovableHandle] = []
        parameters = {plain_name(name): parameter for name, parameter in model.named_parameters(remove_duplicate=False)}
        self._parts = [_Part(tap, parameters) for tap in taps if tap.units and tap.regions]
        for part in self._parts:
            for parameter in part.parameters:
                self._handles.append(hook_leaf(parameter, partial(self._note, part, parameter)))
        if optimizer is not None:
            self._handles.append(optimizer.register_step_post_hook(lambda *_: self.consume()))

    def consume(self) -> None:
        """Close the step: what later backward passes note belongs to the next one."""
        for part in self._parts:
            part.is_consumed = True

    def agree(self) -> None:
        """Share the step's weights between all processes; every process must call it."""
        # A unit is blocked only if it is blocked for the samples of all processes: their gradients are averaged.
        merged = agree_on([part.bounds_or_empty() for part in self._parts])
        for part, bounds in zip(self._parts, merged, strict=True):
            part.bounds = bounds

    def blocked(self, by_mask: bool = False) -> BlockedUnits:
        """Return the units to which no sample of the step gives a gradient.

        Args:
            by_mask: Whether only the weights of routes count, without zeros in the forward pass.
        """
        return self._chosen(WeightBounds.masked if by_mask else WeightBounds.untrained)

    def silent(self) -> BlockedUnits:
        """Return the units that were zero in the forward pass for all samples of the step."""
        return self._chosen(WeightBounds.silent)

    def owns(self, parameter: Tensor) -> bool:
        """Return whether the optimizer has a parameter."""
        if self._optimizer is None:
            return True
        # Callbacks that unfreeze layers add groups of parameters during training.
        groups = self._optimizer.param_groups
        if (count := sum(len(group["params"]) for group in groups)) != self._num_owned:
            self._num_owned = count
            self._owned = {id(parameter) for group in groups for parameter in group["params"]}
        return id(parameter) in self._owned

    def remove(self) -> None:
        """Remove the hooks from parameters and optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _note(self, part: "_Part", parameter: nn.Parameter, gradient: Tensor) -> None:
        """Add the weights of a backward pass that is about to add to a parameter's gradient."""
        mark = part.tap.mark()
        if (mark == part.mark and not part.is_consumed) or not self.owns(parameter):
            return
        # This hook runs before the gradient is added. `zero_grad` leaves no other trace than gradients of None.
        is_new = part.is_consumed or not any(_has_gradient(p) for p in part.parameters if self.owns(p))
        bounds = part.tap.bounds()
        part.bounds = bounds if is_new or part.bounds is None else part.bounds.merge(bounds)
        part.mark, part.is_consumed = mark, False

    def _chosen(self, choose: Callable[[WeightBounds], Tensor]) -> BlockedUnits:
        """Return the units of chosen regions, with one transfer from the device for all modules."""
        parts = [part for part in self._parts if part.bounds is not None]
        if not parts:
            return []
        flags = iter(torch.cat([choose(part.bounds_or_empty()) for part in parts]).tolist())
        found = [
            (part.units, [unit for region in part.regions.units.values() if next(flags) for unit in region])
            for part in parts
        ]
        return [(group, units) for group, units in found if units]


class _Part:
    """Notes on one tap.

    Args:
        tap: The tap.
        parameters: The model's parameters by plain name.
    """

    def __init__(self, tap: Tap, parameters: dict[str, nn.Parameter]) -> None:
        if tap.units is None or tap.regions is None:
            raise ValueError(f"{tap.name}: expected a tap with known units, got none.")
        self.tap, self.units, self.regions = tap, tap.units, tap.regions
        names = dict.fromkeys(piece.name for piece in (*self.units.producers, *self.units.consumers))
        self.parameters = [parameters[name] for name in names]
        self.bounds: WeightBounds | None = None
        self.mark: object = None
        self.is_consumed = False

    def bounds_or_empty(self) -> WeightBounds:
        """Return the bounds, or those of no sample."""
        return self.bounds or WeightBounds.empty(len(self.regions.units), self.tap.table)


def _has_gradient(parameter: nn.Parameter) -> bool:
    """Return whether a parameter has a gradient, also one that FSDP2 has not shared between processes yet."""
    return parameter.grad is not None or whole_parameter(parameter).grad is not None


def agree_on(bounds: Sequence[WeightBounds]) -> list[WeightBounds]:
    """Merge bounds with those of all other processes, in one reduction; every process must call it.

    Args:
        bounds: Bounds, the same number and sizes in all processes; those of no sample where one has none.

    Returns:
        The bounds of the samples of all processes.
    """
    if not bounds or not (dist.is_available() and dist.is_initialized()):
        return list(bounds)
    joined = torch.cat([part.values for part in bounds], dim=1)
    dist.all_reduce(joined, dist.ReduceOp.MIN)
    return [WeightBounds(part) for part in joined.split([part.values.shape[1] for part in bounds], dim=1)]
