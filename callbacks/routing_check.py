"""A trial of a run's routes on the first batches, instead of training."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor

from lightning_vista.callbacks.gradient_routing import find_routing
from lightning_vista.routing import Router
from lightning_vista.routing.occurrences import Occurrences
from lightning_vista.routing.reach import Factors, reach_by_factor, shares_of

if TYPE_CHECKING:  # rich is imported where it prints
    from rich.table import Table


class RoutingCheck(L.Callback):
    """A callback that makes the checks of `GradientRouting` on the first batch and measures reach, instead of training.

    The rules also run on more batches, to count how often each group occurs in real data.

    Nothing is trained. Masks are applied in full, whatever their warm-up. Use it with `fast_dev_run=True`, so that
    loggers and checkpoints stay unused too, as `lightning-vista routing check` does.

    Args:
        num_batches: The number of batches in which groups are counted.

    Attributes:
        reached: Parameter -> group -> share of the parameter that gets a gradient, see `reach`.
        factors: Parameter -> group -> factor of the gradient -> share, see `reach_by_factor`.
        occurrences: For each route its module and its groups, with the number of samples or tokens of each.

    Raises:
        RoutingError: At the start of training, with everything that is wrong.
        ValueError: If the trainer lacks a `GradientRouting` or batches, or the module optimizes manually.
    """

    def __init__(self, num_batches: int = 20) -> None:
        if num_batches < 1:
            raise ValueError(f"`num_batches`: expected at least 1, got {num_batches}.")
        self.num_batches = num_batches
        self.num_counted = 0
        self.reached: Mapping[str, Mapping[str, float]] = {}
        self.factors: Mapping[str, Factors] = {}
        self.occurrences: list[tuple[str, dict[str, int]]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check, then stop the trainer before its first step."""
        if not pl_module.automatic_optimization:
            raise ValueError(
                "RoutingCheck: expected automatic optimization, since it calls `training_step` without training, got "
                f"{type(pl_module).__name__}, which optimizes manually. Run `fit`, which checks its first step alike."
            )
        batches = self._batches(trainer, pl_module)
        batch = next(batches)
        routings = find_routing(trainer, self)
        routers = [routing.router for routing in routings]
        with _without_logging(pl_module):
            members: dict[int, Tensor] = {}
            for routing in routings:
                members.update(routing.route(batch))
            torch.autograd.backward(_loss(trainer, pl_module, batch))
            for routing in routings:
                routing.check()
                routing.router.clear()
            self.factors = reach_by_factor(pl_module, routers, members, lambda: _loss(trainer, pl_module, batch))
            self.reached = shares_of(self.factors)
        self._count(routers, [batch], batches)
        trainer.should_stop = True

    def _batches(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Iterator[Any]:
        """Yield the first batches, on the device."""
        # The loader itself, without the fit loop: a combined loader as Lightning would build it.
        loader = iter(CombinedLoader(trainer.train_dataloader, "max_size_cycle"))
        for batch, *_ in islice(loader, self.num_batches):
            yield trainer.strategy.batch_to_device(batch, pl_module.device)

    def _count(self, routers: Sequence[Router], *batches: Iterable[Any]) -> None:
        """Count how often each group occurs, and warn of those that do not."""
        # `reach` puts all data into one group after another, and so never sees a rule that matches nothing.
        occurrences = Occurrences([route for router in routers for route in router.routes])
        self.num_counted = 0
        for batch in chain(*batches):
            occurrences.add(batch)
            self.num_counted += 1
        names = [", ".join(route.patterns) or "the model" for route in occurrences.routes]
        self.occurrences = list(zip(names, occurrences.counts(), strict=True))
        occurrences.warn(f"the first {self.num_counted} batches")

    def table(self) -> "Table":
        """Build a table of the parameters that some group does not fully train, and count the others in its caption."""
        from rich.table import Table

        trained = {name: groups for name, groups in self.factors.items() if any(groups.values())}
        routed = {name: groups for name, groups in trained.items() if any(f != {1.0: 1.0} for f in groups.values())}
        table = Table(title="Share of each parameter that data of a group trains")
        table.caption = (
            f"{len(trained) - len(routed)} other parameters are fully trained by all groups, "
            f"{len(self.factors) - len(trained)} by none. -20% is all of a parameter with the gradient times -0.2, and "
            "38% by 50% a share of 38% with the gradient times 0.5."
        )
        table.add_column("trained parameter")
        for group in next(iter(self.factors.values()), ()):
            table.add_column(group, justify="right")
        for name, groups in routed.items():
            table.add_row(name, *map(_cell, groups.values()))
        return table

    def occurrence_table(self) -> "Table":
        """Build a table of how often each group of each route occurs."""
        from rich.table import Table

        table = Table("route", "group", title=f"Samples or tokens of each group in {self.num_counted} batches")
        table.add_column("occurrences", justify="right")
        for name, counts in self.occurrences:
            for group, count in counts.items():
                table.add_row(name, group, f"{count:,}" if count else "0: never", style=None if count else "bold red")
        return table


def _cell(factors: Mapping[float, float]) -> str:
    """Return what a group trains of a parameter, as text: the share, the factor, or both."""
    parts = []
    for factor, share in sorted(factors.items(), reverse=True):
        if factor == 1:
            parts.append(f"{share:.0%}")
        else:
            parts.append(f"{100 * factor:.3g}%" if share == 1 else f"{share:.0%} by {100 * factor:.3g}%")
    return ", ".join(parts) or "0%"


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
