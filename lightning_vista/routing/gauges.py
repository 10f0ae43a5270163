"""Gauges: measurements of the gradient that each kind of data leaves in each region."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing.leaves import hook_leaf
from lightning_vista.routing.masking import with_unlabelled
from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.parameter_tap import ParameterTap
from lightning_vista.routing.tap import Tap


class HasMembers(Protocol):
    """Whatever knows the memberships of the current batch: a tap on a module or on parameters."""

    members: Tensor | None


class Reading(NamedTuple):
    """Sums of a gauge since it was last read.

    Attributes:
        energies: Sums of squared gradients `(rows, regions)`.
        amounts: The amount of data behind each row `(rows,)`.
    """

    energies: Tensor
    amounts: Tensor


class Gauge(ABC):
    """Base class of gauges, which sum the squared gradient in each region for each row, a kind of data.

    Args:
        rows: The names of the rows.
        regions: The names of the regions.
        device: The device of the sums.
    """

    def __init__(self, rows: Sequence[str], regions: Sequence[str], device: torch.device) -> None:
        self.rows, self.regions = list(rows), list(regions)
        self._amounts = torch.zeros(len(self.rows), device=device)
        #: Energies before the mask, as of the last `read`; None where they are not measured.
        self.before: Tensor | None = None

    @abstractmethod
    def start(self, kinds: Tensor | None) -> None:
        """Measure the next backward passes.

        Args:
            kinds: How much each sample, or token, of the batch truly is of each kind `(batch[, tokens], kinds)`.
        """

    @abstractmethod
    def stop(self) -> None:
        """Measure nothing from now on; sums stay until they are read."""

    @abstractmethod
    def count(self) -> None:
        """Add the data of the backward pass that has just ended to the amounts."""

    def read(self) -> Reading:
        """Return the sums, and begin new ones."""
        amounts = self._amounts.clone()
        self._amounts.zero_()
        return Reading(self._take(), amounts)

    @abstractmethod
    def _take(self) -> Tensor:
        """Return the energies, and begin new ones."""


class ActivationGauge(Gauge):
    """The gradient that leaves a routed module, behind the mask and before it, for each group and each unlabelled kind.

    A sample's energy is the sum of squares of its own gradient over all units and positions of a region: exactly what a
    backward pass of this sample alone would give, whatever else the batch holds. A sample that belongs to groups or
    kinds in part counts in part. Amounts are numbers of samples, or of tokens where memberships are about tokens.

    Args:
        tap: The tap of the module.
        kinds: The names of kinds.
        device: The device of the model.
    """

    def __init__(self, tap: Tap, kinds: Sequence[str], device: torch.device) -> None:
        super().__init__([*tap.route.rule.groups, *unlabelled_rows(kinds)], list(tap.route.regions), device)
        self._tap = tap
        # A leaf of the graph: its "gradient", the energies, adds up over micro-batches by itself.
        self._probe = torch.zeros(2, len(self.rows), len(self.regions), device=device, requires_grad=True)

    def start(self, kinds: Tensor | None) -> None:
        """Put the probe into the tap."""
        self._tap.probe, self._tap.kinds = self._probe, kinds

    def stop(self) -> None:
        """Take the probe out of the tap."""
        self._tap.probe = self._tap.kinds = None

    def count(self) -> None:
        """Add the batch's memberships."""
        if (members := self._tap.probed_members()) is not None:
            self._amounts += members.flatten(0, -2).sum(0).to(self._amounts)

    def _take(self) -> Tensor:
        both = torch.zeros_like(self._probe) if self._probe.grad is None else self._probe.grad
        self._probe.grad = None
        energies: Tensor
        energies, self.before = both.detach()
        return energies


class Part(NamedTuple):
    """The entries of a parameter that belong to one region.

    Attributes:
        region: The number of the region.
        parameter: The parameter.
        dim: The dimension of `entries`.
        entries: Indices along `dim`; None for the whole parameter.
    """

    region: int
    parameter: nn.Parameter
    dim: int = 0
    entries: Tensor | None = None


class ParameterGauge(Gauge):
    """The gradient of the parameters of each region, in backward passes of unlabelled data of one kind.

    The gradient of a parameter is a sum over the batch, so only passes count in which every sample is in default mode
    and of the same kind. Energies are squared norms of what such a pass adds to the gradients of the region's
    parameters, behind all masks and before data parallel strategies average it. Amounts are numbers of passes.

    Args:
        source: Where the memberships of a batch are found.
        parts: The entries of each region.
        regions: The names of the regions.
        kinds: The names of kinds.
        device: The device of the model.
    """

    def __init__(
        self,
        source: HasMembers,
        parts: Sequence[Part],
        regions: Sequence[str],
        kinds: Sequence[str],
        device: torch.device,
    ) -> None:
        super().__init__(unlabelled_rows(kinds), regions, device)
        self._source = source
        self._by_parameter: dict[nn.Parameter, list[Part]] = {}
        for part in parts:
            self._by_parameter.setdefault(part.parameter, []).append(part)
        self._energies = torch.zeros(len(self.rows), len(self.regions), device=device)
        self._kinds: Tensor | None = None
        self._handles: list[RemovableHandle] = []

    def start(self, kinds: Tensor | None) -> None:
        """Register hooks on the parameters."""
        self._kinds = kinds
        if not self._handles:  # only in measured steps: hooks on leaves cost time
            self._handles = [hook_leaf(p, partial(self._add, parts)) for p, parts in self._by_parameter.items()]

    def stop(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._kinds = [], None

    def count(self) -> None:
        """Count the pass for its kind, if it has one."""
        self._amounts += self._is_pure()

    def _add(self, parts: Sequence[Part], gradient: Tensor) -> None:
        is_pure = self._is_pure()
        for part in parts:
            own = gradient if part.entries is None else gradient.index_select(part.dim, part.entries)
            self._energies[:, part.region] += is_pure * own.float().square().sum()

    def _is_pure(self) -> Tensor:
        """Return 1 for the kind to which the whole batch belongs, without a label, and 0 for others `(kinds,)`."""
        members, kinds = self._source.members, self._kinds
        if members is None or kinds is None or not len(members):
            return torch.zeros_like(self._amounts)
        # On the device: nothing waits for it.
        unlabelled = with_unlabelled(members, kinds)[..., members.shape[-1] :]
        return (unlabelled == 1).flatten(0, -2).all(dim=0).to(self._amounts)

    def _take(self) -> Tensor:
        energies = self._energies.clone()
        self._energies.zero_()
        return energies


def unlabelled_rows(kinds: Sequence[str]) -> list[str]:
    """Return the names of rows for data that no group has, such as "unlabelled forget"."""
    return [f"unlabelled {kind}" for kind in kinds]


def gauge_units(tap: Tap, model: nn.Module, kinds: Sequence[str], device: torch.device) -> ParameterGauge | None:
    """Build a gauge of the rows of weights and biases that make a module's routed units.

    Args:
        tap: The tap of the module.
        model: The model.
        kinds: The names of kinds.
        device: The device of the model.

    Returns:
        The gauge, or None if not all parameters that make the units are known.
    """
    if tap.units is None or tap.regions is None or tap.units.missing():
        return None
    parameters = {plain_name(name): p for name, p in model.named_parameters(remove_duplicate=False)}
    parts = [
        Part(number, parameters[piece.name], piece.dim, torch.tensor(entries, device=parameters[piece.name].device))
        for piece in tap.units.producers
        for number, units in enumerate(tap.regions.units.values())
        if (entries := piece.entries(units))
    ]
    return ParameterGauge(tap, parts, list(tap.regions.units), kinds, device)


def gauge_parameters(tap: ParameterTap, model: nn.Module, kinds: Sequence[str], device: torch.device) -> ParameterGauge:
    """Build a gauge of the parameters that a `ParameterRoute` weighs, `routed`, and of all others, `rest`.

    Args:
        tap: The tap of the route.
        model: The model.
        kinds: The names of kinds.
        device: The device of the model.

    Returns:
        The gauge.
    """
    routed = set(tap.parameters)
    parts = [Part(int(parameter not in routed), parameter) for parameter in model.parameters()]
    return ParameterGauge(tap, parts, ["routed", "rest"], kinds, device)


def norms(readings: Mapping[str, Reading]) -> dict[str, Tensor]:
    """Return root mean squares: the norm of the gradient in each region for a typical sample, or pass.

    Args:
        readings: Name -> sums.

    Returns:
        Name -> norms `(rows, regions)`; NaN without data.
    """
    return {name: (energies / amounts.unsqueeze(1)).sqrt() for name, (energies, amounts) in readings.items()}
