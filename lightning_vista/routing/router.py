"""The router: routes on a model, and the memberships of its training data."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_vista.options import check_word
from lightning_vista.routing.checks import check_all_tokens, check_fired, check_memberships, find_taps
from lightning_vista.routing.masking import MaskWeightMode, anneal, region_weights, zero_factors
from lightning_vista.routing.route import Route
from lightning_vista.routing.step_weights import BlockedUnits, StepWeights
from lightning_vista.routing.strategies import DEFAULT_STRATEGY, StrategyName, find_strategy
from lightning_vista.routing.tap import Tap


class Router:
    """Routes applied to a model: `m * x + (1 - m) * stop_gradient(x)` in chosen layers (arXiv 2410.04332, section 3).

    It acts in training mode only, and only while there are memberships. A model may have several routers.

    Args:
        routes: The routes.
        mask_weight: The share of the mask that is applied, from 0 to 1, see `anneal`.
        mask_weight_mode: The meaning of a mask weight below 1, see `anneal`.
        strategy: "gradient" weighs gradients in the backward pass; "parameter" weighs the gradients of the parameters
            that make and read the units, see `mask_parameters`; "activation" zeroes activations instead.

    Attributes:
        strategy: The strategy as an object.
        taps: The routed modules, once attached.

    Raises:
        ValueError: If `strategy` or `mask_weight_mode` is another word.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> model = nn.Linear(2, 4)
        >>> rule = LabelRule("label", {"low": [0], "high": [1]})
        >>> router = Router([Route("", rule, {"low": "0:2", "high": "rest"})])
        >>> router.attach(model)
        >>> with router.memberships({"low": torch.ones(3), "high": torch.zeros(3)}):
        ...     model(torch.ones(3, 2)).sum().backward()
        >>> model.bias.grad
        tensor([3., 3., 0., 0.])
        >>> router.detach()
    """

    def __init__(
        self,
        routes: Sequence[Route],
        mask_weight: float = 1.0,
        mask_weight_mode: MaskWeightMode = "anneal",
        strategy: StrategyName = DEFAULT_STRATEGY,
    ) -> None:
        check_word("mask_weight_mode", mask_weight_mode, get_args(MaskWeightMode))
        self.routes = list(routes)
        self.mask_weight = mask_weight
        self.mask_weight_mode = mask_weight_mode
        self.strategy = find_strategy(strategy)
        self.taps: list[Tap] = []
        self._handles: list[RemovableHandle] = []
        self._model: nn.Module | None = None
        self._default_step: StepWeights | None = None
        self._steps: dict[Optimizer, StepWeights] = {}
        self._is_checked = self._is_warned = False

    def attach(self, model: nn.Module, isolates: bool = False) -> None:
        """Register hooks on the routed modules; a compiled model must not have been called before.

        Args:
            model: The model that contains the modules.
            isolates: Whether optimizers will be isolated, for which the parameters that make units must be known.

        Raises:
            RoutingError: If anything is wrong, such as patterns without a module or regions that overlap; lists it all.
            RuntimeError: If the router is already attached.
        """
        if self._model is not None:
            raise RuntimeError("`Router.attach`: expected a detached router, got an attached one. Call `detach` first.")
        # All routes are checked before the first hook is registered: an error leaves the model as it was.
        taps = find_taps(self.routes, model, self.strategy.needs(isolates))
        if not self.strategy.masks_parameters:
            check_all_tokens(taps, model)
        self.taps = taps
        self._handles = [tap.attach() for tap in self.taps]
        self._model = model
        self._is_warned = False
        # Hooks on parameters cost time in each backward pass, and plain routing needs none.
        if isolates or self.strategy.masks_parameters:
            self._default_step = StepWeights(self.taps, model)
        self._is_checked = False

    def detach(self) -> None:
        """Remove the router's own hooks and no others."""
        for handle in self._handles:
            handle.remove()
        for step in self._all_steps():
            step.remove()
        self._default_step, self._steps = None, {}
        for tap in self.taps:
            tap.clear()
        self._handles, self._model = [], None

    def compute(self, batch: Any) -> Mapping[int, Tensor]:
        """Compute the memberships of a batch by the rules, and keep the weights until `clear`.

        Args:
            batch: A batch of the dataloader.

        Returns:
            The memberships `(batch[, tokens], groups)` by the identity of the rule.

        Raises:
            ValueError: If memberships are negative, sum to more than 1, or have a wrong shape. On an accelerator values
                are checked in the first batch only, since the check waits for the device.
        """
        # Routes may share a rule, such as a FrequencyRule: it reads each batch once.
        by_rule = {id(route.rule): route.rule for route in self.routes}
        members = {key: rule.memberships(batch) for key, rule in by_rule.items()}
        self._set({key: (by_rule[key].groups, tensor) for key, tensor in members.items()})
        return members

    @contextmanager
    def memberships(self, groups: Mapping[str, Tensor]) -> Iterator[None]:
        """Route the training within the context, for use without a trainer; the backward pass belongs inside.

        Args:
            groups: Group -> memberships `(batch,)` or `(batch, tokens)` from 0 to 1; groups left out have none.

        Raises:
            ValueError: If a group is unknown, or memberships are not valid as in `compute`.
        """
        known = {group for route in self.routes for group in route.rule.groups}
        if unknown := set(groups) - known:
            raise ValueError(f"`memberships`: expected groups of the rules, {sorted(known)}, got {sorted(unknown)}.")
        if not groups:
            raise ValueError(f"`memberships`: expected at least one of the groups {sorted(known)}, got none.")
        # Groups that are left out get zeros, since a rule's table has a row for each of its groups.
        like = next(iter(groups.values()))
        rules = {id(route.rule): route.rule.groups for route in self.routes}
        self._set(
            {
                key: (names, torch.stack([groups.get(name, torch.zeros_like(like)) for name in names], dim=-1))
                for key, names in rules.items()
            }
        )
        try:
            yield
            self._warn_idle()
        finally:
            self.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave calls of the model within the context unrouted, such as `generate` or other samples.

        The memberships stay, and hold again afterwards.
        """
        before = [tap.is_paused for tap in self.taps]
        taps = list(self.taps)
        for tap in taps:
            tap.is_paused = True
        try:
            yield
        finally:
            for tap, was_paused in zip(taps, before, strict=True):
                tap.is_paused = was_paused

    def clear(self) -> None:
        """Forget memberships: what follows is ordinary backpropagation."""
        for tap in self.taps:
            tap.clear()

    def follow(self, optimizer: Optimizer) -> StepWeights:
        """Note the weights of the samples behind one optimizer's gradients, from now until `detach`.

        With several optimizers, or several steps after one backward pass, each needs to know its own samples.

        Args:
            optimizer: The optimizer.

        Returns:
            The weights of the samples of its next step.
        """
        if self._default_step is not None:
            self._default_step.remove()
            self._default_step = None
        self._steps[optimizer] = StepWeights(self.taps, self._attached(), optimizer)
        return self._steps[optimizer]

    def start_step(self) -> None:
        """Start an optimizer step: forget the weights of the last step's samples."""
        for step in self._all_steps():
            step.consume()

    def mask_parameters(self, optimizer: Optimizer | None = None) -> None:
        """Weigh the gradients of parameters by their units' weights, if the strategy does so.

        Call it between the backward pass and the optimizer's step; with several processes, in each of them.

        Args:
            optimizer: An optimizer that the router follows, to weigh its parameters only; by default all.

        Raises:
            ValueError: If samples of the step belong to different groups.
        """
        for step in self._all_steps(optimizer):
            step.agree()
            self.strategy.mask_parameters(self._attached(), step)

    def check_backward(self) -> None:
        """Check after the first backward pass that routing did what it says; every process must call it.

        Raises:
            RoutingError: If a routed module was not called, or a blocked unit got a gradient by another path.
        """
        self.check_called()
        self.check_gradients()

    def check_called(self) -> None:
        """Check that all routed modules were called.

        Raises:
            RoutingError: If one was not, although the strategy acts on its calls.
        """
        check_fired(tap for tap in self.taps if tap.has_mask)

    def check_gradients(self) -> None:
        """Check after the first backward pass that no gradient reached a blocked unit; every process must call it.

        Raises:
            RoutingError: If a blocked unit got a gradient by another path.
        """
        self.strategy.check_backward(self.taps, self._attached())

    def blocked(self, optimizer: Optimizer | None = None) -> BlockedUnits:
        """Return the units whose gradient is zero in this optimizer step for all of its samples.

        Args:
            optimizer: An optimizer that the router follows; by default the only one.

        Raises:
            ValueError: If the router does not note the weights of samples, or not for this optimizer.
        """
        return self._one_step(optimizer).blocked(by_mask=self.strategy.isolates_readers)

    def silent(self, optimizer: Optimizer | None = None) -> BlockedUnits:
        """Return the units that were zero in the forward pass in this optimizer step for all of its samples.

        Args:
            optimizer: As in `blocked`.

        Raises:
            ValueError: As in `blocked`.
        """
        return self._one_step(optimizer).silent()

    def _one_step(self, optimizer: Optimizer | None) -> StepWeights:
        """Return what is noted for one optimizer."""
        steps = self._all_steps(optimizer)
        if len(steps) != 1:
            raise ValueError(
                f"`optimizer`: expected an optimizer that the router follows, got {type(optimizer).__name__} and "
                f"{len(self._all_steps())} to choose from. Call `attach(model, isolates=True)` for one optimizer, or "
                "`follow(optimizer)` for each of several."
            )
        return steps[0]

    def _all_steps(self, optimizer: Optimizer | None = None) -> list[StepWeights]:
        """Return what is noted for one optimizer, or for all."""
        if optimizer is not None:
            return [self._steps[optimizer]] if optimizer in self._steps else []
        return [self._default_step] if self._default_step is not None else list(self._steps.values())

    def _warn_idle(self) -> None:
        """Warn once of routed modules that were never called."""
        idle = [tap for tap in self.taps if tap.has_mask and not tap.fired]
        if self._is_warned or not idle:
            return
        self._is_warned = True
        reasons = {_reason(tap, self._attached()) for tap in idle}
        warnings.warn(
            f"`memberships`: expected calls of {[tap.name for tap in idle]}, got none, so nothing is routed "
            f"there. {' '.join(sorted(reasons))}",
            stacklevel=4,  # the `with` statement, behind `contextmanager`
        )

    def _set(self, members: Mapping[int, tuple[tuple[str, ...], Tensor]]) -> None:
        """Give the taps the weights of memberships, which are listed by rule."""
        like = next((p for p in self._attached().parameters() if p.is_floating_point()), torch.zeros(()))
        ready = {}
        for key, (groups, tensor) in members.items():
            # Reading values of an accelerator's tensor makes the host wait, so that is done once.
            check_memberships(tensor, groups, values=tensor.device.type == "cpu" or not self._is_checked)
            # At least float32: in half precision the remainder to 1 of small memberships would be rounded away.
            ready[key] = tensor.to(like.device, torch.promote_types(torch.float32, like.dtype))
        self._is_checked = True
        for tap in self.taps:
            self._weigh(tap, ready[id(tap.route.rule)])

    def _attached(self) -> nn.Module:
        if self._model is None:
            raise RuntimeError(
                "`Router`: expected an attached router, got a detached one. Call `router.attach(model)`."
            )
        return self._model

    def _weigh(self, tap: Tap, members: Tensor) -> None:
        """Turn memberships into the weights of a tap."""
        tap.table = tap.table.to(members)
        weights = anneal(region_weights(members, tap.table), self.mask_weight, self.mask_weight_mode)
        tap.members = members
        # Weights stay until `clear`: activation checkpointing runs the forward pass, and so the hook, a second time.
        tap.weights = None
        tap.factors = None if tap.zeros is None else zero_factors(members, tap.zeros.to(members))
        self.strategy.set_mask(tap, weights)
        tap.note(weights)


def _reason(tap: Tap, model: nn.Module) -> str:
    """Return the likely reason why a module was not called, and the remedy."""
    if not tap.module.training:
        return "Modules in evaluation mode, as `from_pretrained` returns them, are not routed: call `model.train()`."
    owner, _, child = tap.name.rpartition(".")
    parent = dict(model.named_modules()).get(owner)
    if isinstance(parent, nn.MultiheadAttention) and child:
        return (
            "`nn.MultiheadAttention` uses its projection without a call: use the strategy 'parameter', or an attention "
            "with a module of its own for it."
        )
    return "Check that the model calls them as modules within the context."
