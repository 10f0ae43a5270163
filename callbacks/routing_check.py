"""A trial of a run's routes on one batch, instead of training."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor

from lightning_vista.callbacks.gradient_routing import find_routing
from lightning_vista.routing import Router
from lightning_vista.routing.reach import reach

if TYPE_CHECKING:  # rich is imported where it prints
    from rich.table import Table


class RoutingCheck(L.Callback):
    """A callback that makes the checks of `GradientRouting` on the first batch and measures reach, instead of training.

    Nothing is trained. Masks are applied in full, whatever their warm-up. Use it with `fast_dev_run=True`, so that
    loggers and checkpoints stay unused too, as `lightning-vista routing check` does.

    Attributes:
        reached: Parameter -> group -> share of the parameter that gets a gradient, see `reach`.

    Raises:
        RoutingError: At the start of training, with everything that is wrong.
        ValueError: If there is no `GradientRouting`, or if the module optimizes manually.
    """

    def __init__(self) -> None:
        self.reached: Mapping[str, Mapping[str, float]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check, then stop the trainer before its first step."""
        if not pl_module.automatic_optimization:
            raise ValueError(
                "RoutingCheck: expected automatic optimization, since it calls `training_step` without training, got "
                f"{type(pl_module).__name__}, which optimizes manually. Run `fit`, which checks its first step alike."
            )
        # The loader itself, without the fit loop: a combined loader as Lightning would build it.
        batch, *_ = next(iter(CombinedLoader(trainer.train_dataloader, "max_size_cycle")))
        batch = trainer.strategy.batch_to_device(batch, pl_module.device)
        routings = find_routing(trainer, self)
        routers = [routing.router for routing in routings]
        with _without_logging(pl_module):
            for routing in routings:
                routing.route(batch)
            torch.autograd.backward(_loss(trainer, pl_module, batch))
            for routing in routings:
                routing.check()
                routing.router.clear()
            num_samples = _num_samples(routers, batch)
            self.reached = reach(pl_module, routers, num_samples, lambda: _loss(trainer, pl_module, batch))
        trainer.should_stop = True

    def table(self) -> "Table":
        """Build a table of the parameters that some group does not fully train, and count the others in its caption."""
        from rich.table import Table

        trained = {name: shares for name, shares in self.reached.items() if any(shares.values())}
        routed = {name: shares for name, shares in trained.items() if min(shares.values()) < 1}
        table = Table(title="Share of each parameter that data of a group trains")
        table.caption = (
            f"{len(trained) - len(routed)} other parameters are fully trained by all groups, "
            f"{len(self.reached) - len(trained)} by none."
        )
        table.add_column("trained parameter")
        for group in next(iter(self.reached.values()), ()):
            table.add_column(group, justify="right")
        for name, shares in routed.items():
            table.add_row(name, *(f"{share:.0%}" for share in shares.values()))
        return table


@contextmanager
def _without_logging(module: L.LightningModule) -> Iterator[None]:
    """Let `log` and `log_dict` of a module do nothing within the context.

    Lightning accepts logging only from hooks that a loop calls, and adds the values to the means of the epoch. Here no
    loop runs. Attributes of the instance hide the methods of its class, so that no class is changed.
    """
    attributes = vars(module)
    before = dict(attributes)
    names = ("log", "log_dict")
    attributes.update(dict.fromkeys(names, lambda *_args, **_options: None))
    try:
        yield
    finally:
        for name in names:
            del attributes[name]
            if name in before:
                attributes[name] = before[name]


def _loss(trainer: L.Trainer, pl_module: L.LightningModule, batch: Any) -> Tensor:
    """Call `training_step` as the trainer's strategy does, and return its loss."""
    arguments = (batch, 0)[: len(inspect.signature(pl_module.training_step).parameters)]
    output = trainer.strategy.training_step(*arguments)
    loss = output["loss"] if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise ValueError(f"`training_step`: expected a loss for the first batch, got {type(output).__name__}.")
    return loss


def _num_samples(routers: list[Router], batch: Any) -> int:
    """Return the number of samples in a batch, as the first rule sees it."""
    return len(routers[0].routes[0].rule.memberships(batch))
