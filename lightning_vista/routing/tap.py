"""Taps: the hooks of one routed module."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing.masking import Layout, RoutedIdentity, scale_regions
from lightning_vista.routing.regions import Regions
from lightning_vista.routing.route import Route
from lightning_vista.routing.units import UnitGroup


class Tap:
    """One module that a route masks.

    Args:
        name: The module's name in the model.
        module: The module.
        route: What to do with it.
        regions: The regions, where the number of units is known before the first forward pass.
        units: The parameters that make and read the units, where they are known.

    Attributes:
        members: The memberships of this step `(batch[, tokens], groups)`.
        weights: What gradients are multiplied by `(batch[, tokens], regions)`; None for no masking.
        factors: What activations are multiplied by, likewise.
        probe: Zeros `(groups, regions)` whose gradient is the energy of each region by group; None to not measure it.
        lowest: The lowest weight of each region that any sample had since `start_step` `(regions,)`.
        highest: The highest, likewise.
        fired: Whether the module has been called while there was something to mask.
    """

    def __init__(
        self, name: str, module: nn.Module, route: Route, regions: Regions | None, units: UnitGroup | None
    ) -> None:
        self.name = name
        self.module = module
        self.route = route
        self.regions = regions
        self.units = units
        self.layout = self._lay_out(regions) if regions else None
        self.members: Tensor | None = None
        self.weights: Tensor | None = None
        self.factors: Tensor | None = None
        self.probe: Tensor | None = None
        self.lowest: Tensor | None = None
        self.highest: Tensor | None = None
        self.fired = False

    def attach(self) -> RemovableHandle:
        """Hook onto the module.

        Returns:
            The handle that removes the hook.
        """
        if self.route.at == "input":
            return self.module.register_forward_pre_hook(self._on_input, with_kwargs=True)
        return self.module.register_forward_hook(self._on_output)

    def clear(self) -> None:
        """Forget this step's data."""
        self.members = self.weights = self.factors = None

    def start_step(self) -> None:
        """Begin to note weights anew, after an optimizer step."""
        self.lowest = self.highest = None

    def note(self, weights: Tensor) -> None:
        """Note the weights of a batch `(batch[, tokens], regions)`, which adds to the optimizer step under way."""
        lowest, highest = weights.flatten(0, -2).aminmax(dim=0)
        self.lowest = lowest if self.lowest is None else torch.minimum(self.lowest, lowest)
        self.highest = highest if self.highest is None else torch.maximum(self.highest, highest)

    def blocked_units(self) -> list[int]:
        """The units that no sample since the last optimizer step was allowed to train."""
        if self.lowest is None or self.highest is None or self.regions is None:
            return []
        blocked = ((self.lowest == 0) & (self.highest == 0)).tolist()
        return [unit for units, out in zip(self.regions.units.values(), blocked, strict=True) if out for unit in units]

    def unit_weights(self) -> Tensor | None:
        """The weight of each unit that all samples since the last optimizer step share `(units,)`; None without any.

        Raises:
            ValueError: If samples differ in their weights.
        """
        if self.lowest is None or self.highest is None or self.regions is None:
            return None
        if not torch.equal(self.lowest, self.highest):
            raise ValueError(
                f"{self.name}: the strategy 'parameter' can mask one group in each optimizer step, but samples of this "
                "step have different weights. Let all samples of a step (of all accumulated batches) belong to one "
                "group, by a batch sampler and a rule of whole samples, or use the strategy 'gradient'."
            )
        weights = self.lowest.new_empty(self.regions.size)
        for units, weight in zip(self.regions.units.values(), self.lowest, strict=True):
            weights[list(units)] = weight
        return weights

    def _is_active(self, module: nn.Module) -> bool:
        return module.training and (self.weights is not None or self.factors is not None)

    def _on_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return change_first(output, self._mask, self.name) if self._is_active(module) else None

    def _on_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._is_active(module):
            return None
        if any(isinstance(arg, Tensor) for arg in args):
            return change_first(args, self._mask, self.name), kwargs
        return args, change_first(kwargs, self._mask, self.name)

    def _mask(self, x: Tensor) -> Tensor:
        """The routed tensor in place of the module's."""
        self.fired = True
        layout = self._check(x)
        if self.factors is not None:
            x = scale_regions(x, self.factors, layout)
        if self.weights is not None and torch.is_grad_enabled() and x.requires_grad:
            x = RoutedIdentity.apply(x, self.weights, layout, self.members, self.probe)
        return x

    def _check(self, x: Tensor) -> Layout:
        """Where the regions lie in a tensor, whose shape must fit memberships and units.

        Raises:
            ValueError: If it does not.
        """
        route = self.route
        expected = () if self.members is None else tuple(self.members.shape[:-1])
        actual = tuple(x.shape[:2] if route.batch_dim == 0 else x.shape[1::-1])[: len(expected)]
        if actual != expected:
            raise ValueError(
                f"{self.name}: expected the {route.at} to have {expected} samples (and tokens), "
                f"as the rule's memberships do, got {tuple(x.shape)} with `batch_dim={route.batch_dim}`."
            )
        if route.dim % x.dim() < len(expected) or route.dim % x.dim() == route.batch_dim:
            raise ValueError(
                f"{self.name}: units lie in dimension {route.dim}, which has the samples or tokens of "
                f"{tuple(x.shape)}: set `dim` of the route."
            )
        if self.layout is None:
            self.regions = Regions.parse(route.regions, x.shape[route.dim] // route.unit_size)
            self.layout = self._lay_out(self.regions)
        width = self.regions.size * route.unit_size if self.regions else 0
        if x.shape[route.dim] != width:
            raise ValueError(
                f"{self.name}: expected {width} entries in dimension {route.dim} of the {route.at}, units of "
                f"{route.unit_size} each, got {tuple(x.shape)}: set `dim` and `unit_size` of the route."
            )
        return self.layout

    def _lay_out(self, regions: Regions) -> Layout:
        return Layout(regions.entries(self.route.unit_size), self.route.dim, self.route.batch_dim)


def change_first(value: Any, change: Callable[[Tensor], Tensor], name: str) -> Any:
    """Change the first floating-point tensor of what a module takes or returns.

    Args:
        value: A tensor, or a tuple, list, mapping or dataclass that holds one.
        change: What to do with it.
        name: The module's name, for the error.

    Returns:
        The same kind of value, with the changed tensor.

    Raises:
        ValueError: If there is no such tensor.

    Example:
        >>> change_first((None, torch.ones(1), torch.ones(1)), lambda x: 2 * x, "encoder")
        (None, tensor([2.]), tensor([1.]))
    """
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        items: dict[Any, Any] = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, dict):
        items = value
    else:
        items = dict(enumerate(value)) if isinstance(value, tuple | list) else {}
    for key, item in items.items():
        if isinstance(item, Tensor) and item.is_floating_point():
            return _with(value, key, change(item))
    raise ValueError(
        f"{name}: expected a floating-point tensor, or a tuple, list, mapping or dataclass with one, got "
        f"{type(value).__name__}: route another module."
    )


def _with(value: Any, key: Any, item: Tensor) -> Any:
    """A container with one item exchanged."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{key: item})
    if isinstance(value, dict):
        return {**value, key: item}
    items = [*value[:key], item, *value[key + 1 :]]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
