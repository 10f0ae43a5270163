"""The router: routes on a model, and the memberships of its training data."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_vista.options import check_word
from lightning_vista.routing.checks import check_all_tokens, check_fired, check_memberships, find_all_taps
from lightning_vista.routing.masking import MaskWeightMode, anneal, check_annealing, region_weights, zero_factors
from lightning_vista.routing.parameter_route import ParameterRoute
from lightning_vista.routing.parameter_tap import ParameterTap
from lightning_vista.routing.route import Route
from lightning_vista.routing.routing_error import RoutingError
from lightning_vista.routing.sharding import find_whole_parameters, sharding_faults
from lightning_vista.routing.step_guard import StepGuard
from lightning_vista.routing.strategies import DEFAULT_STRATEGY, StrategyName, find_strategy
from lightning_vista.routing.tap import Tap


class Router:
    """Routes applied to a model: `m * x + (1 - m) * stop_gradient(x)` in chosen layers (arXiv 2410.04332, section 3).

    It acts in training mode only, and only while there are memberships. A model may have several routers.

    Args:
        routes: The routes, on modules or on parameters.
        mask_weight: The share of the mask that is applied, from 0 to 1, see `anneal`.
        mask_weight_mode: The meaning of a mask weight below 1, see `anneal`.
        strategy: "gradient" weighs gradients in the backward pass; "parameter" weighs the gradients of the parameters
            that make and read the units; "activation" zeroes activations instead. Routes on parameters have none.

    Attributes:
        strategy: The strategy as an object.
        taps: The routed modules, once attached.
        parameter_taps: The parameters of each route on parameters, once attached.

    Raises:
        ValueError: If `strategy` or `mask_weight_mode` is another word, or `mask_weight` is not from 0 to 1.

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
        routes: Sequence[Route | ParameterRoute],
        mask_weight: float = 1.0,
        mask_weight_mode: MaskWeightMode = "anneal",
        strategy: StrategyName = DEFAULT_STRATEGY,
    ) -> None:
        check_annealing(mask_weight)
        check_word("mask_weight_mode", mask_weight_mode, get_args(MaskWeightMode))
        self.routes = list(routes)
        self.mask_weight = mask_weight
        self.mask_weight_mode = mask_weight_mode
        self.strategy = find_strategy(strategy)
        self.taps: list[Tap] = []
        self.parameter_taps: list[ParameterTap] = []
        self._handles: list[RemovableHandle] = []
        self._guards: list[StepGuard] = []
        self._model: nn.Module | None = None
        self._isolates = False
        self._is_checked = self._is_warned = False

    def attach(self, model: nn.Module, isolates: bool = False) -> None:
        """Register hooks on the routed modules; a compiled model must not have been called before.

        Args:
            model: The model that contains the modules.
            isolates: Whether optimizers will be isolated, for which the parameters that make units must be known.

        Raises:
            RoutingError: If anything is wrong, such as patterns without a module or regions that overlap; lists it all.
                Also if the model is spread over processes in a way that routing does not support.
            RuntimeError: If the router is already attached.
        """
        if self._model is not None:
            raise RuntimeError("`Router.attach`: expected a detached router, got an attached one. Call `detach` first.")
        find_whole_parameters(model)
        if faults := sharding_faults(model):
            raise RoutingError(faults)
        # All routes are checked before the first hook is registered: an error leaves the model as it was.
        taps, parameter_taps = find_all_taps(self.routes, model, self.strategy.needs(isolates))
        if not self.strategy.masks_parameters:
            check_all_tokens(taps, model)
        self.taps, self.parameter_taps = taps, parameter_taps
        self._model, self._isolates = model, isolates
        self._handles = [tap.attach() for tap in taps]
        for parameter_tap in parameter_taps:
            self._handles += parameter_tap.attach()
        self._handles += self.strategy.attach(taps, model)
        self._is_checked = self._is_warned = False

    def detach(self) -> None:
        """Remove the router's own hooks and no others."""
        for handle in self._handles:
            handle.remove()
        for guard in self._guards:
            guard.remove()
        self.clear()
        self._handles, self._guards, self._model = [], [], None

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
        for parameter_tap in self.parameter_taps:
            parameter_tap.clear()

    def guard(self, optimizer: Optimizer, before_step: bool = True) -> StepGuard:
        """Keep the steps of an optimizer from moving what their data must not train, from now until `detach`.

        This concerns routes on parameters, and blocked units if the router was attached with `isolates`. With several
        optimizers, guard each.

        Args:
            optimizer: The optimizer.
            before_step: Whether the optimizer itself prepares each step; otherwise call `StepGuard.prepare` between the
                backward pass and the step.

        Returns:
            The guard.

        Raises:
            RuntimeError: If the router is not attached.
            ValueError: If the optimizer cannot be isolated; at its step, if a closure makes the gradients.
        """
        guard = StepGuard(
            optimizer, self._attached(), self.taps, self.parameter_taps, self.strategy, isolates=self._isolates
        )
        self._guards.append(guard)
        if before_step:
            self._handles.append(optimizer.register_step_pre_hook(partial(_prepare, guard)))
        return guard

    def check_backward(self) -> bool:
        """Check after the first backward pass that routing did what it says; every process must call it.

        Returns:
            False if gradients overflowed, see `check_gradients`.

        Raises:
            RoutingError: If a routed module was not called, or a blocked unit got a gradient by another path.
        """
        self.check_called()
        self.check_read()
        return self.check_gradients()

    def check_called(self) -> None:
        """Check that all routed modules were called.

        Raises:
            RoutingError: If one was not, although the strategy acts on its calls.
        """
        check_fired(tap for tap in self.taps if tap.has_mask)

    def check_read(self) -> None:
        """Warn after the first backward pass of routed tensors that the loss does not read."""
        unread = [tap.name for tap in self.taps if tap.is_unread]
        if unread:
            warnings.warn(
                f"{unread}: expected a loss that reads the tensors that are masked there, got one that reads none, so "
                "nothing is routed there. Of several tensors that a module takes or returns, the first one is masked: "
                "`last_hidden_state` of BERT, the output sequence of `nn.LSTM`. Route the module that makes what the "
                "loss reads.",
                stacklevel=3,
            )

    def check_gradients(self) -> bool:
        """Check after the first backward pass that no gradient reached a blocked unit; every process must call it.

        Returns:
            False if gradients overflowed, as with a loss scaler in the first steps. Nothing is known then: call it
            again after the next backward pass that starts without gradients.

        Raises:
            RoutingError: If a blocked unit got a gradient by another path.
        """
        return self.strategy.check_backward(self.taps, self._attached())

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
        # The taps of a route share its weights: a model may have many layers.
        for _, taps in groupby(self.taps, key=lambda tap: id(tap.route)):
            self._weigh(list(taps), ready)
        for parameter_tap in self.parameter_taps:
            own = ready[id(parameter_tap.route.rule)]
            parameter_tap.weigh(self._annealed(own, parameter_tap.table))
            parameter_tap.members = own

    def _attached(self) -> nn.Module:
        if self._model is None:
            raise RuntimeError(
                "`Router`: expected an attached router, got a detached one. Call `router.attach(model)`."
            )
        return self._model

    def _weigh(self, taps: Sequence[Tap], by_rule: Mapping[int, Tensor]) -> None:
        """Turn memberships into the weights of the taps of one route."""
        members, zeros = by_rule[id(taps[0].route.rule)], taps[0].zeros
        table = taps[0].table.to(members)
        weights = self._annealed(members, table)
        factors = None if zeros is None else zero_factors(members, zeros.to(members))
        # Weights stay until `clear`: activation checkpointing runs the forward pass, and so the hook, a second time.
        for tap in taps:
            tap.table = table  # kept on the device
            tap.is_plain = tap.has_plain_table and self.mask_weight_mode == "anneal"
            tap.members, tap.factors, tap.weights, tap.unit_weights = members, factors, None, None
            self.strategy.set_mask(tap, weights)
            tap.note(weights)

    def _annealed(self, members: Tensor, table: Tensor) -> Tensor:
        """Return the weights of a batch's samples or tokens, under the mask weight."""
        return anneal(region_weights(members, table.to(members)), self.mask_weight, self.mask_weight_mode)


def _prepare(guard: StepGuard, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Prepare a step that has its gradients by now."""
    # The first argument is the optimizer itself.
    if any(argument is not None for argument in (*args[1:], kwargs.get("closure"))):
        raise ValueError(
            f"`closure`: expected a step of {type(optimizer).__name__} after the backward pass, got one that makes "
            "its own gradients. Call `guard(optimizer, before_step=False)`, and `prepare` at the end of the closure."
        )
    guard.prepare()


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
