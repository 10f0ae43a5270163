"""Taps: the hooks of routed modules."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing.hooking import hook_tensor
from lightning_vista.routing.masking import (
    Layout,
    RoutedIdentity,
    flatten_tokens,
    probe_energies,
    scale_regions,
    with_unlabelled,
)
from lightning_vista.routing.mixtures import ChosenWeights, hook_experts, hook_logits
from lightning_vista.routing.regions import Regions
from lightning_vista.routing.route import Route
from lightning_vista.routing.routing_error import RoutingError
from lightning_vista.routing.units import UnitGroup
from lightning_vista.routing.units.experts import is_gate
from lightning_vista.routing.weight_bounds import WeightBounds


class Tap:
    """One module that a route masks.

    Args:
        name: The module's name in the model.
        module: The module.
        route: The route.
        regions: The regions, where the number of units is known before the first forward pass.
        units: The parameters that make and read the units, where they are known.

    Attributes:
        place: The route's place.
        table: The route's weights `(groups, regions)`.
        zeros: 1 where a group's rows zero a region in the forward pass `(groups, regions)`; None without any.
        members: The memberships of this step `(batch[, tokens], groups)`.
        weights: The factors of gradients `(batch[, tokens], regions)`; None for no masking.
        factors: The factors of activations `(batch[, tokens], regions)`; None for no masking.
        unit_weights: The factors of gradients of the units' parameters `(units,)`; None for no masking.
        probe: Zeros `(groups, regions)` whose gradient is the energy of each region by group; None to not measure it.
        kinds: How much each sample, or token, truly is of each kind `(batch[, tokens], kinds)`, to measure that of
            unlabelled data too: the probe then has a further row for each kind. None for groups alone.
        has_plain_table: Whether all of the route's weights are 1.
        is_plain: Whether all of this step's weights are 1, whatever the data.
        noted: The weights of this step's samples, whichever way they are applied `(batch[, tokens], regions)`.
        fired: Whether the module was called while there was something to mask.
        is_unread: Whether the tensor's gradient was to be weighed, and no backward pass has reached it so far.
        is_paused: Whether calls of the module are not routed for now.
    """

    def __init__(
        self, name: str, module: nn.Module, route: Route, regions: Regions | None, units: UnitGroup | None
    ) -> None:
        self.name = name
        self.module = module
        self.route = route
        self.place = route.place
        self.regions = regions
        self.units = units
        self.layout = self._lay_out(regions) if regions else None
        self.table, self.zeros = route.weight_table(), route.zero_table()
        # A route may have nothing but zeros of the forward pass: its weights of 1 need no pass over the gradient.
        self.has_plain_table = bool((self.table == 1).all())
        self.is_plain = False
        self.members: Tensor | None = None
        self.weights: Tensor | None = None
        self.factors: Tensor | None = None
        self.unit_weights: Tensor | None = None
        self.probe: Tensor | None = None
        self.kinds: Tensor | None = None
        self.noted: Tensor | None = None
        self.fired = self.is_paused = False
        self.is_unread = self._is_read = False
        self._was_called = False
        self._version = 0
        self._passed_by = False

    @property
    def key(self) -> str:
        """The name of the routed tensor, under which callbacks keep what they know of it."""
        return f"{self.name}:{self.place.at}"

    def attach(self) -> RemovableHandle:
        """Register the hook on the module.

        Returns:
            The handle that removes the hook.
        """
        if self.place.at == "experts":
            return hook_experts(self.module, self._weigh_experts, self.name, self._is_active)
        if self.place.at == "output" and is_gate(self.module):
            return hook_logits(self.module, self._weigh_logits, self.name, self._is_active)
        return hook_tensor(self.module, self.place.at, self._mask, self.name, self._is_active)

    def clear(self) -> None:
        """Forget this step's data."""
        self.members = self.weights = self.factors = self.unit_weights = None
        self.note(None)

    def note(self, weights: Tensor | None) -> None:
        """Keep the weights of the samples from now on, or None for samples that are not routed."""
        self.noted = weights
        self._version += 1
        self._passed_by = False

    def mark(self) -> object:
        """Return a value that changes whenever `bounds` may change."""
        return self._version, self._passed_by

    def bounds(self) -> WeightBounds:
        """Measure the bounds of the weights of this step's samples.

        Returns:
            The bounds; those of unrouted samples too where the module was called without its mask.
        """
        unrouted = WeightBounds.unrouted(self.table.shape[1], self.table)
        if self.noted is None:
            return unrouted
        bounds = WeightBounds.of(self.noted, self.factors)
        return bounds.merge(unrouted) if self._passed_by else bounds

    def unit_mask(self) -> Tensor | None:
        """Return the factors of gradients of the units' parameters `(units,)`, or None for no masking.

        Raises:
            ValueError: If the module was also called for samples that are not routed.
        """
        if self.unit_weights is not None and self._passed_by:
            raise ValueError(
                f"{self.name}: expected gradients of the batch's samples alone, whose group their parameters follow, "
                "got a call that is not routed. Call the backward pass of others before `compute` or after `clear`, or "
                "run them under `torch.no_grad()`."
            )
        return self.unit_weights

    def probed_members(self) -> Tensor | None:
        """Return the memberships in the rows of the probe `(batch[, tokens], rows)`; None without any."""
        if self.members is None or self.kinds is None:
            return self.members
        return with_unlabelled(self.members, self.kinds)

    @property
    def has_mask(self) -> bool:
        """True if the hook has something to apply to the module's tensor."""
        return self.weights is not None or self.factors is not None

    def _is_active(self) -> bool:
        if not self.has_mask and self.unit_weights is None:
            if self._was_called and not torch.compiler.is_compiling():
                self._check_recomputation()
            return False
        # A module in evaluation mode does not train, even if `training_step` calls it to sample or as a frozen teacher.
        if self.module.training and not self.is_paused:
            return self.has_mask
        if torch.is_grad_enabled():
            self._passed_by = True
        return False

    def _check_recomputation(self) -> None:
        """Refuse to repeat a routed forward pass without its mask, as activation checkpointing would after `clear`.

        Raises:
            RoutingError: If a backward pass calls the module, whose memberships are gone.
        """
        if torch._C._current_graph_task_id() == -1:  # not within a backward pass: an ordinary call without routing
            self._was_called = False
            return
        raise RoutingError(
            [
                f"{self.name}: expected memberships while activation checkpointing repeats the forward pass, got none. "
                "The backward pass belongs inside `memberships`, or before `clear`."
            ]
        )

    def _mask(self, x: Tensor) -> Tensor:
        """Return the routed tensor, which replaces the module's own."""
        self.fired = self._was_called = True
        # Reentrant checkpointing runs its first forward pass without gradients; only the second one is weighed. Other
        # calls without gradients, such as `generate`, train nothing: they may have any number of samples.
        is_training = torch.is_grad_enabled()
        if self.factors is None and not is_training:
            return x
        layout, weights, factors, members = self._fit(x)
        if factors is not None:
            x = scale_regions(x, factors, layout)
        if weights is not None and is_training and x.requires_grad and not (self.is_plain and self.probe is None):
            x = RoutedIdentity.apply(x, weights, layout, members, self.probe)
            if not torch.compiler.is_compiling() and not self._is_read:  # a compiled backward pass tells nothing
                self.is_unread = True
                x.register_hook(self._note_reading)
        return x

    def _note_reading(self, _: Tensor) -> None:
        self._is_read, self.is_unread = True, False

    def _fit(self, x: Tensor) -> tuple[Layout, Tensor | None, Tensor | None, Tensor | None]:
        """Return the layout, weights, factors and memberships in the order of a tensor's rows."""
        tokens = self._tokens_in_rows(x)
        layout = self._check(x, tokens)
        values = (self.weights, self.factors, self.members if self.probe is None else self.probed_members())
        if tokens is not None:
            order = partial(flatten_tokens, tokens=tokens, batch_dim=layout.batch_dim)
            weights, factors, members = (None if value is None else order(value) for value in values)
            return layout._replace(batch_dim=0), weights, factors, members
        return layout, *values

    def _weigh_logits(self, logits: Tensor) -> Callable[[Tensor], Tensor] | None:
        """Return the hook on a gate's logits.

        Raises:
            ValueError: If the logits were to be zeroed, which would choose experts as any other logits do.
        """
        self.fired = self._was_called = True
        if self.factors is not None:
            raise ValueError(
                f"{self.name}: expected weights of gradients, got zeros for the logits of a gate, which choose experts "
                "as any other logits do. Zero whole experts instead (at='experts')."
            )
        if not torch.is_grad_enabled():
            return None
        layout, weights, _, members = self._fit(logits)
        probe = self.probe
        if self.is_plain and probe is None:
            return None

        def weigh(grad: Tensor) -> Tensor:
            weighed = grad if weights is None else scale_regions(grad, weights, layout)
            if probe is not None and members is not None:
                energies = probe_energies(weighed, grad, members, layout)
                probe.grad = energies if probe.grad is None else probe.grad + energies
            return weighed

        return weigh

    def _weigh_experts(self, chosen: Tensor) -> ChosenWeights | None:
        """Return what routes apply to the experts that a gate chose `(rows, chosen)`; None for nothing."""
        self.fired = self._was_called = True
        is_training = torch.is_grad_enabled()
        if self.factors is None and not is_training:
            return None
        # A stand-in for the contributions of all experts, of which only the shape matters.
        _, weights, factors, members = self._fit(chosen.new_empty(len(chosen), self._num_units(), device="meta"))
        owners = chosen.new_zeros(self._num_units())
        for region, units in enumerate(self.regions.units.values() if self.regions else ()):
            owners[list(units)] = region
        region_of = owners[chosen]
        if not is_training or (self.is_plain and self.probe is None):
            weights = None
        picked = [None if value is None else value.gather(1, region_of) for value in (weights, factors)]

        def spread(squares: Tensor) -> Tensor:
            if members is None or picked[0] is None:
                return squares.new_zeros((2, *self.table.shape) if self.probe is None else self.probe.shape)
            # Each chosen expert gets the row's gradient, times its weight; before the mask, without it.
            weighed, plain = squares.new_zeros(2, len(squares), self.table.shape[1])
            weighed.scatter_add_(1, region_of, picked[0].to(squares).square() * squares.unsqueeze(1))
            plain.scatter_add_(1, region_of, squares.unsqueeze(1).expand(region_of.shape))
            return torch.stack([members.to(squares).T @ weighed, members.to(squares).T @ plain])

        return ChosenWeights(picked[0], picked[1], spread, self.probe)

    def _num_units(self) -> int:
        return self.regions.size if self.regions else 0

    def _tokens_in_rows(self, x: Tensor) -> int | None:
        """Return the number of tokens of each sample in a flattened tensor; None for a tensor that is not flattened.

        Raises:
            ValueError: If it is not clear which rows belong to a sample.
        """
        place, members = self.place, self.members
        if place.flattened is False or members is None or x.dim() != 2:
            return None
        batch, *tokens = members.shape[:-1]
        if tokens:
            is_flat = len(x) == batch * tokens[0]
            return tokens[0] if is_flat else None
        # Gates and experts of transformers always see a matrix of all tokens.
        is_flattened = place.flattened or self.place.at == "experts" or is_gate(self.module)
        if is_flattened and batch and len(x) % batch == 0:
            return len(x) // batch
        if len(x) != batch and batch and len(x) % batch == 0:
            raise ValueError(
                f"{self.name}: expected the {place.at} to have {batch} samples, got {len(x)} rows of {tuple(x.shape)}. "
                f"If these are {len(x) // batch} tokens of each sample, set `flattened=True` of the route. "
                f"{_OTHER_CALLS}{self._how_to_pass_by()}"
            )
        return None

    def _check(self, x: Tensor, tokens: int | None) -> Layout:
        """Return the layout of regions in a tensor, whose shape must fit memberships and units.

        Raises:
            ValueError: If the shape does not fit.
        """
        place = self.place
        expected = () if self.members is None or tokens else tuple(self.members.shape[:-1])
        # Samples and tokens are the first two dimensions, in either order; memberships of samples check one of them.
        actual = tuple(x.shape[:2] if place.batch_dim == 0 else x.shape[1::-1])[: len(expected)]
        if actual != expected:
            raise ValueError(
                f"{self.name}: expected the {place.at} to have {expected} samples (and tokens), as the rule's "
                f"memberships do, got {tuple(x.shape)} with `batch_dim={place.batch_dim}`. {_OTHER_CALLS}"
                f"{self._how_to_pass_by()}"
            )
        rows_dim = 0 if tokens else place.batch_dim
        if place.dim % x.dim() < len(expected) or place.dim % x.dim() == rows_dim:
            raise ValueError(
                f"{self.name}: expected `dim` to be a dimension of units, got {place.dim}, which has the samples or "
                f"tokens of {tuple(x.shape)}. Set `dim` of the route."
            )
        # Modules with unknown parameters tell the number of their units only now.
        if self.layout is None:
            self.regions = Regions.parse(self.route.regions, place.count_units(x))
            self.layout = self._lay_out(self.regions)
        width = self.regions.size * place.unit_size if self.regions else 0
        if x.shape[place.dim] != width:
            raise ValueError(
                f"{self.name}: expected {width} entries in dimension {place.dim} of the {place.at}, units of "
                f"{place.unit_size} each, got {tuple(x.shape)}. Set `dim` and `unit_size` of the route."
            )
        return self.layout

    def _how_to_pass_by(self) -> str:
        """Return where a call belongs that is not to be routed, for an error."""
        return f"{'' if self.factors is not None else 'under `torch.no_grad()` or '}into `with router.paused():`."

    def _lay_out(self, regions: Regions) -> Layout:
        return Layout(regions.entries(self.place.unit_size), self.place.dim, self.place.batch_dim)


_OTHER_CALLS = "A call that does not train the batch's samples, such as `generate`, belongs "
