"""A measurement during training of which data trains which units."""

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor
from torch.optim import Optimizer

from lightning_vista.callbacks.gradient_routing import find_routing
from lightning_vista.optional import require
from lightning_vista.pictures import draw_heat_map, log_picture
from lightning_vista.routing.masking import energy_shares
from lightning_vista.routing.strategies import DEFAULT_STRATEGY
from lightning_vista.routing.tap import Tap
from lightning_vista.run_files import run_files

_log = logging.getLogger(__name__)
_COLUMNS = ("module", "group", "region", "energy", "share")


class RoutingMonitor(L.Callback):
    """A measurement of how the energy of gradients, their sum of squares, falls on regions for each group of data.

    It measures the gradient that leaves the routed modules of `GradientRouting`, so behind the mask. With routing, a
    group's row is 1 in its own region and 0 elsewhere; without it (`mask_weight=0`) all rows look alike. A measured
    step needs no second backward pass. A resumed run continues the sums of its checkpoint.

    Every logger gets the shares of measured steps as `routing/<module>/<group>/<region>`, except those of groups
    without a gradient in the step. At the end of training the run's folder gets `routing.csv` with the shares over all
    measured steps, and pictures of them as `routing/<module>.png`. wandb gets a table and images, TensorBoard images.

    Args:
        every_n_steps: The number of optimizer steps (`trainer.global_step`) from one measured step to the next.

    Attributes:
        energies: Module -> energies `(groups, regions)`, float64, summed over the measured steps of all processes.
        num_steps: The number of measured steps.
        num_left_out: The number of measured steps that were left out because a gradient was infinite or NaN.

    Raises:
        ValueError: At the start of training, if there is no `GradientRouting` that weighs gradients.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[RoutingMonitor(every_n_steps=10)])
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"`every_n_steps`: expected at least 1, got {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self.energies: dict[str, Tensor] = {}
        self.num_steps = self.num_left_out = 0
        self._resumed: dict[str, Any] | None = None
        self._taps: dict[str, Tap] = {}
        self._probes: dict[str, Tensor] = {}
        self._step: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums over the measured steps so far."""
        return {"energies": self.energies, "num_steps": self.num_steps, "num_left_out": self.num_left_out}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the sums of the checkpoint until training resumes."""
        self._resumed = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make a probe for each routed module; the routers are attached by now."""
        require("matplotlib", "plots")  # better to fail now than at the end of training
        routers = [routing.router for routing in find_routing(trainer, self)]
        if others := {router.strategy.name for router in routers if not router.strategy.weighs_backward}:
            raise ValueError(
                f"RoutingMonitor: expected routing that weighs the backward pass (strategy {DEFAULT_STRATEGY!r}), got "
                f"{sorted(others)}. Remove the monitor, and see `lightning-vista routing check`."
            )
        self._taps = dict(_named(tap for router in routers for tap in router.taps))
        shapes = {name: (len(tap.route.rule.groups), len(tap.route.regions)) for name, tap in self._taps.items()}
        # Leaves of the graph: their "gradients", the energies, add up over micro-batches by themselves.
        self._probes = {n: torch.zeros(s, device=pl_module.device, requires_grad=True) for n, s in shapes.items()}
        self.energies = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        self.num_steps = self.num_left_out = 0
        self._resume()

    def _resume(self) -> None:
        """Continue the sums of a checkpoint, if they are of the same groups and regions."""
        # Kept until now: what is summed is known only once the routers are attached.
        state, self._resumed = self._resumed, None
        if state is None:
            return
        before = {name: tuple(energy.shape) for name, energy in state["energies"].items()}
        now = {name: tuple(energy.shape) for name, energy in self.energies.items()}
        if before != now:
            _log.warning(
                "RoutingMonitor starts anew: the checkpoint measured modules, groups and regions %s, this run %s.",
                before, now,
            )  # fmt: skip
            return
        self.energies = {name: energy.cpu().double() for name, energy in state["energies"].items()}
        self.num_steps, self.num_left_out = state["num_steps"], state["num_left_out"]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Probe all batches of a measured step."""
        # By `global_step`, which stays the same for accumulated batches: all of them are measured or none.
        is_measured = trainer.global_step % self.every_n_steps == 0
        for name, tap in self._taps.items():
            tap.probe = self._probes[name] if is_measured else None

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Read the probes while the loss scale is still that of their gradients."""
        if not any(tap.probe is not None for tap in self._taps.values()):
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = scaler.get_scale() if scaler else 1.0
        for name, probe in self._probes.items():
            energy = torch.zeros_like(probe) if probe.grad is None else probe.grad
            # A scaled loss scales gradients, and so their squares by the square.
            energy = trainer.strategy.reduce(energy, reduce_op="sum").cpu().double() / scale**2
            self._step[name] = self._step[name] + energy if name in self._step else energy
            probe.grad = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the energies of a measured step and log its shares."""
        step, self._step = self._step, {}
        if not all(energy.isfinite().all() for energy in step.values()):  # as in steps that mixed precision skips
            self.num_left_out += 1
        elif step:
            self.num_steps += 1
            for name, energy in step.items():
                self.energies[name] += energy
            figures = dict(self._figures(step))
            trainer.callback_metrics.update({name: torch.tensor(value) for name, value in figures.items()})
            for logger in trainer.loggers:
                logger.log_metrics(figures, trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write and log the results."""
        self._stop()
        if self.num_left_out:
            _log.warning("RoutingMonitor left out %d steps with infinite gradients.", self.num_left_out)
        if trainer.is_global_zero and self.num_steps and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._write(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the probes."""
        self._stop()

    def _stop(self) -> None:
        for tap in self._taps.values():
            tap.probe = None

    def _cells(self, energies: dict[str, Tensor]) -> Iterator[tuple[str, str, str, float, float]]:
        """Yield rows of the table: module, group, region, energy, share."""
        for name, energy in energies.items():
            route, shares = self._taps[name].route, energy_shares(energy).tolist()
            for group, row, parts in zip(route.rule.groups, energy.tolist(), shares, strict=True):
                yield from ((name, group, *cell) for cell in zip(route.regions, row, parts, strict=True))

    def _figures(self, step: dict[str, Tensor]) -> Iterator[tuple[str, float]]:
        """Yield the shares of a step, for the groups that had a gradient in it."""
        cells = list(self._cells(step))
        active = {(name, group) for name, group, _, energy, _ in cells if energy > 0}
        for name, group, region, _, share in cells:
            if (name, group) in active:
                yield f"routing/{name}/{group}/{region}", share

    def _write(self, trainer: L.Trainer) -> None:
        """Write the table and the pictures, and send them to the loggers that take such."""
        cells, path = list(self._cells(self.energies)), run_files(trainer) / "routing.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *cells])
        subtitle = f"share of a group's gradient in each region, {self.num_steps} steps"
        for name, energy in self.energies.items():
            route, shares = self._taps[name].route, energy_shares(energy).tolist()
            picture = draw_heat_map(name, subtitle, route.rule.groups, list(route.regions), shares)
            log_picture(trainer, f"routing/{name}", picture)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table(
                    "routing/shares", list(_COLUMNS), [list(cell) for cell in cells], step=trainer.global_step
                )


def _named(taps: Iterable[Tap]) -> Iterator[tuple[str, Tap]]:
    """Yield a name for each tap: its module's, with a number where several routes mask one module."""
    seen: Counter[str] = Counter()
    for tap in taps:
        name = tap.name or "model"
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), tap
