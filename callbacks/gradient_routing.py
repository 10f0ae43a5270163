"""Gradient routing on any LightningModule."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import lightning as L
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing import ParameterRoute, Route, Router, RoutingError, Rule
from lightning_vista.routing.descriptions import describe_routes, differences
from lightning_vista.routing.masking import MaskWeightMode, check_annealing, warmup
from lightning_vista.routing.occurrences import Occurrences
from lightning_vista.routing.sharding import engine_faults
from lightning_vista.routing.step_guard import StepGuard
from lightning_vista.routing.strategies import DEFAULT_STRATEGY, StrategyName

_log = logging.getLogger(__name__)


class GradientRouting(L.Callback):
    """Gradient routing: the data decides which part of a model it trains (arXiv 2410.04332).

    It works with automatic and manual optimisation, gradient accumulation, mixed precision, activation
    checkpointing, `torch.compile` and several devices. A trainer may have several of these callbacks if their
    strategies, modules or regions differ; other routes belong in the list of one callback. Validation, test and
    prediction stay as they are. Hooks exist from `on_fit_start` to the end of `fit`, or to its exception.

    Args:
        routes: The routes: a `Route` has a layer, its regions and the rule that assigns data to groups, a
            `ParameterRoute` has names of parameters and a rule.
        mask_weight: The share of the mask that is applied, from 0 to 1.
        mask_weight_mode: The meaning of a share below 1: "anneal" for `1 + w * (m - 1)`, from ordinary backpropagation
            to the mask, or "scale" for `w * m`, which starts without any gradient (the authors').
        warmup_steps: The number of optimizer steps (`trainer.global_step`) in which the mask weight rises from 0.
        strategy: "gradient" weighs gradients in the backward pass. SGTM's alternatives: "parameter" weighs the
            gradients of the parameters that make and read the units, for which all samples of a batch must be of one
            group; "activation" zeroes the activations of units that may not be trained.
        isolate_optimizer: Whether parameters and optimizer states of units stay as they are where their gradient is
            blocked or they are zero in the forward pass: momentum and weight decay would move them. So do all
            parameters whose gradient is zero throughout. Those of a `ParameterRoute` always stay.

    Raises:
        RoutingError: At the start of `fit`, or after its first backward pass, with everything that is wrong.
        ValueError: If an option has a value that is not allowed.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> rule = LabelRule("label", groups={"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]})
        >>> route = Route("encoder", rule, regions={"low": "0:16", "high": "rest"})
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[GradientRouting([route])])
    """

    def __init__(
        self,
        routes: Sequence[Route | ParameterRoute],
        mask_weight: float = 1.0,
        mask_weight_mode: MaskWeightMode = "anneal",
        warmup_steps: int = 0,
        strategy: StrategyName = DEFAULT_STRATEGY,
        isolate_optimizer: bool = False,
    ) -> None:
        check_annealing(mask_weight, warmup_steps)
        self.router = Router(routes, mask_weight, mask_weight_mode, strategy)
        self.mask_weight = mask_weight
        self.warmup_steps = warmup_steps
        self.isolate_optimizer = isolate_optimizer
        self._guards: dict[Optimizer, StepGuard] = {}
        self._handles: list[RemovableHandle] = []
        self._prepared: set[Optimizer] = set()
        # As written: `setup` turns the words of rules into tokens.
        self._routes = describe_routes(routes)
        self._is_checked = self._is_checked_whole = False
        self._occurrences: Occurrences | None = None

    @property
    def state_key(self) -> str:
        """The key that distinguishes several of these callbacks in a checkpoint."""
        # Lightning's default, the class, would be the same for all of them. The usual strategy is left out, as it is in
        # older checkpoints.
        strategy = self.router.strategy.name
        others = {} if strategy == DEFAULT_STRATEGY else {"strategy": strategy}
        return self._generate_state_key(routes=[route.key for route in self.router.routes], **others)

    @property
    def _rules(self) -> list[Rule]:
        """The rules of the routes, each once."""
        return list({id(route.rule): route.rule for route in self.router.routes}.values())

    def state_dict(self) -> dict[str, Any]:
        """Return the settings with which a resumed run is compared, and the states of rules."""
        # Not the current mask weight: that follows from the trainer's step.
        return {
            "strategy": self.router.strategy.name,
            "mask_weight": self.mask_weight,
            "mask_weight_mode": self.router.mask_weight_mode,
            "warmup_steps": self.warmup_steps,
            "isolate_optimizer": self.isolate_optimizer,
            "rules": [rule.state_dict() for rule in self._rules],
            **self._routes,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let rules continue, and warn where the checkpoint was trained with other settings."""
        for rule, state in zip(self._rules, state_dict.get("rules", ()), strict=False):
            rule.load_state_dict(state)
        if changed := differences(state_dict, self.state_dict()):
            _log.warning("This run resumes with other routing than its checkpoint was trained with: %s", changed)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Warn where the checkpoint was trained with other modules or regions, or without routing."""
        states: Mapping[str, Any] = checkpoint.get("callbacks", {})
        if trainer.state.fn != TrainerFn.FITTING or self.state_key in states:
            return
        # Modules and regions are part of the key, so that Lightning finds no state for others.
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
        ours = {callback.state_key for callback in callbacks if isinstance(callback, GradientRouting)}
        prefix = f"{type(self).__qualname__}{{"
        theirs = [state for key, state in states.items() if key.startswith(prefix) and key not in ours]
        if theirs:
            self.load_state_dict(theirs[0])
        else:
            _log.warning("This run resumes with routing that its checkpoint was trained without: %s", self.state_key)

    def route(self, batch: Any, step: int | None = None) -> Mapping[int, Tensor]:
        """Weigh the regions for a batch; the weights hold until `router.clear()`.

        Args:
            batch: A batch of the dataloader, on the device of the model.
            step: The optimizer step, on which the warm-up depends; None for the mask weight after the warm-up.

        Returns:
            The memberships by the identity of the rule, see `Router.compute`.

        Raises:
            ValueError: If a rule cannot read the batch, or gives memberships that are not valid.
        """
        share = 1.0 if step is None else warmup(step, self.warmup_steps)
        self.router.mask_weight = self.mask_weight * share
        return self.router.compute(batch)

    def paused(self) -> AbstractContextManager[None]:
        """Leave calls of the model unrouted within a context, such as `generate` in `training_step`.

        Returns:
            The context, see `Router.paused`.
        """
        return self.router.paused()

    def check(self) -> None:
        """Check after a first backward pass that routing did what it says; every process must call it.

        Raises:
            RoutingError: If a routed module was not called, or a blocked unit got a gradient by another path.
        """
        self.router.check_backward()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prepare the rules and register the hooks."""
        # `on_fit_start` rather than `setup`: other callbacks change modules in their `setup`, in any order.
        for rule in self._rules:
            rule.setup(getattr(trainer, "datamodule", None))
        self._occurrences = Occurrences(self.router.routes)
        self._check_strategy(trainer.strategy)
        self.router.attach(pl_module, isolates=self.isolate_optimizer)
        self._is_checked = self._is_checked_whole = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Guard the optimizers, which exist by now."""
        if not self._acts_on_steps:
            return
        for optimizer in trainer.optimizers:
            # Lightning makes the gradients within the step, so the optimizer itself would prepare it too early.
            self._guards[optimizer] = self.router.guard(optimizer, before_step=False)
            self._handles.append(optimizer.register_step_post_hook(self._check_prepared))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Weigh the regions for the batch."""
        members = self.route(batch, trainer.global_step)
        if self._occurrences is not None:
            self._occurrences.add(batch, members)

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check once that routing does what it says, before any parameter has changed."""
        # The first backward pass only: later ones add to gradients of other data, which hide what is checked. Where it
        # overflowed, its step is skipped, and the next one starts without gradients.
        if not self._is_checked:
            self._is_checked = self.router.check_gradients()
            # In manual optimization the first of several backward passes need not concern all routed modules.
            if pl_module.automatic_optimization:
                self.router.check_called()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Hold still what the data of the step must not train."""
        if optimizer in self._guards:
            self._guards[optimizer].prepare()
            self._prepared.add(optimizer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Forget the batch: whatever runs before the next one is not routed."""
        if self._is_checked and not self._is_checked_whole:
            self._is_checked_whole = True
            self.router.check_called()
            self.router.check_read()
        self.router.clear()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report once which groups the first epoch did not have."""
        occurrences, self._occurrences = self._occurrences, None
        if occurrences is None or trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
            return
        occurrences.agree(pl_module.device)
        if trainer.is_global_zero:
            occurrences.warn("the first epoch")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove all hooks."""
        self._detach()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove all hooks."""
        self._detach()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove all hooks."""
        self._detach()

    def _detach(self) -> None:
        self.router.detach()
        for handle in self._handles:
            handle.remove()
        self._guards, self._handles, self._prepared = {}, [], set()

    @property
    def _acts_on_steps(self) -> bool:
        """True if anything is done in the steps of optimizers."""
        return self.isolate_optimizer or bool(self.router.parameter_taps)

    def _check_strategy(self, strategy: Strategy) -> None:
        """Refuse strategies of Lightning that wrap the module in an engine whose steps cannot be guarded."""
        stage = 0
        if isinstance(strategy, DeepSpeedStrategy):
            config: Any = strategy.config
            stage = config.get("zero_optimization", {}).get("stage", 0)
        guards_steps = self.isolate_optimizer or any(isinstance(route, ParameterRoute) for route in self.router.routes)
        if faults := engine_faults(isinstance(strategy, FSDPStrategy), stage, guards_steps):
            raise RoutingError(faults)

    def _check_prepared(self, optimizer: Optimizer, *_: object) -> None:
        """Refuse a step of which Lightning, and so this callback, was not told before."""
        if optimizer not in self._prepared:
            raise RoutingError(
                [
                    f"`training_step`: expected steps of Lightning's optimizers, got one of {type(optimizer).__name__} "
                    "itself, in which blocked units moved. Call `step` of `self.optimizers()`, with "
                    "`use_pl_optimizer=True`, the default."
                ]
            )
        self._prepared.discard(optimizer)


def find_routing(trainer: L.Trainer, asker: L.Callback) -> list[GradientRouting]:
    """Find the callbacks of a trainer that route gradients.

    Args:
        trainer: The trainer.
        asker: The callback that needs them, for the error.

    Returns:
        At least one callback.

    Raises:
        ValueError: If there is none.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
    found = [callback for callback in callbacks if isinstance(callback, GradientRouting)]
    if not found:
        raise ValueError(
            f"{type(asker).__name__}: expected a GradientRouting callback in the same trainer, got "
            f"{[type(callback).__name__ for callback in callbacks]}. Add it, with the routes of the model."
        )
    return found
