"""Tries the routes of a run on one batch, instead of training."""

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
    """Makes the checks of `GradientRouting` on the first batch, finds what each group reaches, and ends `fit`.

    Nothing is trained. Masks are applied in full, whatever their warm-up. To be used with `fast_dev_run=True`, so that
    loggers and checkpoints are left alone too; `lightning-vista routing check` does so.

    Attributes:
        reached: Parameter -> group -> share of it that gets a gradient, see `reach`.

    Raises:
        RoutingError: At the start of training, with everything that is wrong.
        ValueError: If there is no `GradientRouting`, or if the module trains itself (manual optimisation).
    """

    def __init__(self) -> None:
        self.reached: Mapping[str, Mapping[str, float]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check, then ask the trainer to stop before its first step."""
        if not pl_module.automatic_optimization:
            raise ValueError(
                f"The check calls training_step without training, but {type(pl_module).__name__} optimizes manually in "
                "it: run `fit` instead, which makes the same checks in its first step."
            )
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
        """The parameters that some group does not train entirely, for the terminal, and how many others there are."""
        from rich.table import Table

        trained = {name: shares for name, shares in self.reached.items() if any(shares.values())}
        routed = {name: shares for name, shares in trained.items() if min(shares.values()) < 1}
        table = Table(title="How much of a parameter data of each group trains")
        table.caption = (
            f"{len(trained) - len(routed)} other parameters are trained by all groups entirely, "
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
    """Let `log` and `log_dict` of a module do nothing.

    Lightning takes what is logged from hooks that a loop calls, and adds it to the means of the epoch; here no loop
    runs. Attributes of the instance hide the methods of its class, so that no class is changed.
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
    arguments = (batch, 0)[: len(inspect.signature(pl_module.training_step).parameters)]
    output = trainer.strategy.training_step(*arguments)
    loss = output["loss"] if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise ValueError(f"Expected training_step to return a loss for the first batch, got {type(output).__name__}.")
    return loss


def _num_samples(routers: list[Router], batch: Any) -> int:
    """The number of samples in a batch, as the first rule sees it."""
    return len(routers[0].routes[0].rule.memberships(batch))
