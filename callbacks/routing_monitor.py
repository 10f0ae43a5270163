"""A measurement during training of which data trains which units."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import isnan
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_vista.callbacks.gradient_routing import find_routing
from lightning_vista.drawing.boards import Table, log_chart, log_picture, log_table
from lightning_vista.drawing.charts import Chart, Point
from lightning_vista.drawing.pictures import draw_heat_maps
from lightning_vista.files.own_files import write_csv
from lightning_vista.files.run_files import run_files
from lightning_vista.optional import is_installed
from lightning_vista.routing import Router, Rule
from lightning_vista.routing.gauges import ActivationGauge, Gauge, Reading, gauge_parameters, gauge_units, norms
from lightning_vista.routing.masking import energy_shares
from lightning_vista.routing.strategies import DEFAULT_STRATEGY

_log = logging.getLogger(__name__)
_COLUMNS = ("module", "group", "region", "energy", "share", "norm", "share_before")
_STEP_COLUMNS = ("step", "module", "group", "region", "share", "share_before")
#: Sums over steps, by the name of the gauge.
Readings = dict[str, Reading]


class RoutingMonitor(L.Callback):
    """A measurement of how the energy of gradients, their sum of squares, falls on regions for each group of data.

    It measures the gradient of the modules that `GradientRouting` routes, behind the mask and before it. Behind a mask
    of zeros and ones, a group's row is 1 in its own region and 0 elsewhere: that is how the mask is built, and only
    checks it. What the model does by itself shows before the mask, in the shares that the loss sends to each region;
    where routing has split the model, they also come to differ between groups. Masks of other modules behind this one
    have acted on both. A measured step needs no second backward pass. A resumed run continues the sums of its
    checkpoint.

    With `kinds`, it also tells what *unlabelled* data, in default mode and so in no group, leaves in each region: a row
    for each true kind, such as `unlabelled forget`. That is the evidence for absorption (SGTM): norms of unlabelled
    forget data shrink in the retain region, and grow in the forget region. Two things are measured.

    - `<module>`: the gradient at the routed tensor. Each sample is told apart, in any batch. A norm is the root mean
      square, over samples (tokens, if memberships are about tokens), of the norm of the sample's own gradient.
    - `<module>.parameters`: the gradient of the weights and biases that make the units of each region, if these are all
      known; `parameters`: that of the parameters of a `ParameterRoute` (`routed`) and of all others (`rest`). Such a
      gradient is a sum over the batch, so only batches count that are unlabelled and of one true kind throughout, which
      the dataloader must see to. A norm is the root mean square over such batches of all processes.

    All gradients are those of the optimizer step before clipping: the share that a sample or batch has in what the
    step's batches and processes add up. So norms are comparable over time, for batches of the same size. They are sums
    over all accumulated batches and processes.

    Every logger gets the shares of measured steps as `routing/<module>/<group>/<region>`, those before the mask as
    `.../before`, except those of groups without a gradient in the step; with `kinds` also the norms, as `.../norm`. At
    the end of training the run's folder gets `routing.csv` with shares and norms over all measured steps,
    `routing_steps.csv` with the shares of each, heat maps of the shares before the mask and behind it as
    `routing/<module>.png`, and curves over the steps, `routing/<module>/before_mask.png` and `.../behind_mask.png`.
    Loggers get the tables, pictures and curves, see `lightning_vista.drawing.boards`. Pictures need the packages
    of the extra `plots`; without them, a warning at the start of training says so.

    Args:
        every_n_steps: The number of optimizer steps (`trainer.global_step`) from one measured step to the next.
        kinds: A rule that tells the true kind of data, also where routing does not know it, such as
            `LabelRule("is_forget", {"forget": [1], "retain": [0]})`. With it, strategies that do not weigh the backward
            pass are measured too, by parameters.

    Attributes:
        sums: Name -> energies `(rows, regions)` and the amount of data in each row, float64, summed over the measured
            steps of all processes.
        before: Name -> energies before the mask `(rows, regions)`, likewise; gradients of parameters have none.
        history: Rows of `routing_steps.csv`.
        num_steps: The number of measured steps.
        num_left_out: The number of measured steps that were left out because a gradient was infinite or NaN.

    Raises:
        ValueError: At the start of training, if the trainer lacks a `GradientRouting` that weighs gradients.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[RoutingMonitor(every_n_steps=10)])
    """

    def __init__(self, every_n_steps: int = 50, kinds: Rule | None = None) -> None:
        if every_n_steps < 1:
            raise ValueError(f"`every_n_steps`: expected at least 1, got {every_n_steps}.")
        self.every_n_steps, self.kinds = every_n_steps, kinds
        self.sums: Readings = {}
        self.before: dict[str, Tensor] = {}
        self.history: list[tuple[int, str, str, str, float, float | None]] = []
        self.num_steps = self.num_left_out = 0
        self._resumed: dict[str, Any] | None = None
        self._gauges: dict[str, Gauge] = {}
        self._is_measured = False
        self._step: Readings = {}
        self._step_before: dict[str, Tensor] = {}

    @property
    def energies(self) -> dict[str, Tensor]:
        """The energies of `sums`, without the amounts."""
        return {name: reading.energies for name, reading in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums over the measured steps so far."""
        amounts = {name: reading.amounts for name, reading in self.sums.items()}
        counts = {"num_steps": self.num_steps, "num_left_out": self.num_left_out}
        steps = {"before": self.before, "history": self.history}
        return {"energies": self.energies, "amounts": amounts, **steps, **counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the sums of the checkpoint until training resumes."""
        self._resumed = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make the gauges; the routers are attached by now."""
        if not is_installed("matplotlib", "PIL"):
            _log.warning(
                "RoutingMonitor writes routing.csv without pictures, which need matplotlib and Pillow: pip install "
                "'lightning-vista[plots]'"
            )
        if self.kinds is not None:
            self.kinds.setup(getattr(trainer, "datamodule", None))
        self._gauges = self._find_gauges([routing.router for routing in find_routing(trainer, self)], pl_module)
        self.sums = {
            name: Reading(*(torch.zeros_like(part, dtype=torch.float64, device="cpu") for part in gauge.read()))
            for name, gauge in self._gauges.items()
        }
        self.before = {
            name: torch.zeros_like(self.sums[name].energies)
            for name, gauge in self._gauges.items()
            if gauge.before is not None
        }
        self.history = []
        self.num_steps = self.num_left_out = 0
        self._resume()

    def _find_gauges(self, routers: list[Router], pl_module: L.LightningModule) -> dict[str, Gauge]:
        """Return what is measured, by name."""
        kinds, device = () if self.kinds is None else self.kinds.groups, pl_module.device
        others = {router.strategy.name for router in routers if not router.strategy.weighs_backward}
        routed = [tap for router in routers if router.strategy.weighs_backward for tap in router.taps]
        if self.kinds is None and (others or not routed):
            raise ValueError(
                f"RoutingMonitor: expected routing of modules that weighs the backward pass (strategy "
                f"{DEFAULT_STRATEGY!r}), got {sorted(others) or 'routes of parameters alone'}. Set `kinds` to measure "
                "unlabelled data, or remove the monitor and see `lightning-vista routing check`."
            )
        found: list[tuple[str, Gauge]] = [(tap.name or "model", ActivationGauge(tap, kinds, device)) for tap in routed]
        if self.kinds is not None:
            for router in routers:
                made = [(tap.name or "model", gauge_units(tap, pl_module, kinds, device)) for tap in router.taps]
                found += [(f"{name}.parameters", gauge) for name, gauge in made if gauge is not None]
                found += [("parameters", gauge_parameters(t, pl_module, kinds, device)) for t in router.parameter_taps]
        return dict(_numbered(found))

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
        self.sums = {
            name: Reading(state["energies"][name].cpu().double(), state["amounts"][name].cpu().double())
            for name in state["energies"]
        }
        self.before |= {name: energy.cpu().double() for name, energy in state.get("before", {}).items()}
        self.history = list(state.get("history", []))
        self.num_steps, self.num_left_out = state["num_steps"], state["num_left_out"]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Measure all batches of a measured step."""
        # By `global_step`, which stays the same for accumulated batches: all of them are measured or none.
        self._is_measured = trainer.global_step % self.every_n_steps == 0
        if not self._is_measured:
            self._stop()
            return
        kinds = None if self.kinds is None else self.kinds.memberships(batch).to(pl_module.device)
        for gauge in self._gauges.values():
            gauge.start(kinds)

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the data of a backward pass."""
        if self._is_measured:
            for gauge in self._gauges.values():
                gauge.count()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Read the gauges while the loss scale is still that of their gradients."""
        if not self._is_measured:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        # A scaled loss scales gradients, and so their squares by the square. Processes average their gradients.
        scale = (scaler.get_scale() if scaler else 1.0) * trainer.world_size
        for name, gauge in self._gauges.items():
            energies, amounts = (trainer.strategy.reduce(part, reduce_op="sum").cpu().double() for part in gauge.read())
            self._step[name] = _add(Reading(energies / scale**2, amounts), self._step.get(name))
            if gauge.before is not None:
                before = trainer.strategy.reduce(gauge.before, reduce_op="sum").cpu().double() / scale**2
                self._step_before[name] = self._step_before.get(name, torch.zeros_like(before)) + before

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the energies of a measured step and log its shares."""
        step, self._step = self._step, {}
        before, self._step_before = self._step_before, {}
        # Modules that weigh accumulated batches by a number known only at the step, such as LanguageModelModule, say by
        # which factor they have multiplied the gradients since.
        factor = float(getattr(pl_module, "gradient_factor", 1.0)) ** 2
        step = {name: Reading(energies * factor, amounts) for name, (energies, amounts) in step.items()}
        before = {name: energies * factor for name, energies in before.items()}
        if not all(energies.isfinite().all() for energies, _ in step.values()):  # as in steps that are skipped
            self.num_left_out += 1
        elif step:
            self.num_steps += 1
            self.sums = {name: _add(reading, self.sums[name]) for name, reading in step.items()}
            self.before = {name: energies + self.before[name] for name, energies in before.items()}
            figures = dict(self._figures(step, before))
            self.history += self._shares(trainer.global_step, step, before)
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
        """Remove the probes and hooks."""
        self._stop()

    def _stop(self) -> None:
        for gauge in self._gauges.values():
            gauge.stop()

    def _cells(
        self, readings: Readings, before: Mapping[str, Tensor]
    ) -> Iterator[tuple[str, str, str, float, float, float | None, float | None]]:
        """Yield rows of the table: module, group, region, energy, share, norm or None without data, share before."""
        typical = norms(readings)
        for name, (energies, _) in readings.items():
            gauge = self._gauges[name]
            earlier = energy_shares(before[name]) if name in before else torch.full_like(energies, torch.nan)
            parts = (energies, energy_shares(energies), typical[name], earlier)
            for group, *cells in zip(gauge.rows, *(part.tolist() for part in parts), strict=True):
                for region, energy, share, length, prior in zip(gauge.regions, *cells, strict=True):
                    yield name, group, region, energy, share, _known(length), _known(prior)

    def _figures(self, step: Readings, before: Mapping[str, Tensor]) -> Iterator[tuple[str, float]]:
        """Yield the shares of a step, and the norms, for the groups that had a gradient in it."""
        cells = list(self._cells(step, before))
        active = {(name, group) for name, group, _, energy, *_ in cells if energy > 0}
        for name, group, region, _, share, norm, prior in cells:
            if (name, group) in active:
                yield f"routing/{name}/{group}/{region}", share
                if prior is not None:
                    yield f"routing/{name}/{group}/{region}/before", prior
                if self.kinds is not None and norm is not None:
                    yield f"routing/{name}/{group}/{region}/norm", norm

    def _shares(
        self, number: int, step: Readings, before: Mapping[str, Tensor]
    ) -> Iterator[tuple[int, str, str, str, float, float | None]]:
        """Yield the rows of a step for the table over steps."""
        for name, group, region, _, share, _, prior in self._cells(step, before):
            row = self._gauges[name].rows.index(group)
            if step[name].energies[row].sum() > 0:
                yield number, name, group, region, share, prior

    def _write(self, trainer: L.Trainer) -> None:
        """Write the tables, and show them with their pictures in the loggers."""
        cells, folder = list(self._cells(self.sums, self.before)), run_files(trainer)
        write_csv(folder / "routing.csv", [_COLUMNS, *cells])
        write_csv(folder / "routing_steps.csv", [_STEP_COLUMNS, *self.history])
        log_table(trainer, "routing/shares", Table(_COLUMNS, cells))
        for name, energies in self.energies.items() if is_installed("matplotlib", "PIL") else ():
            gauge, panels = self._gauges[name], {}
            if name in self.before:
                panels["before the mask"] = energy_shares(self.before[name]).tolist()
            panels["behind the mask" if panels else "gradient"] = energy_shares(energies).tolist()
            title = f"{name}: share of a group's gradient in each region, {self.num_steps} steps"
            picture = draw_heat_maps(title, gauge.rows, gauge.regions, panels, axes_names=("data", "units"))
            log_picture(trainer, f"routing/{name}", picture)
            for place, lines in self._curves(name).items():
                title = f"{name}: share of the gradient {place.replace('_', ' the ')}"
                chart = Chart(title, lines, "Step", "Share", lines=True, dots=False, reach=(0, 1))
                log_chart(trainer, f"routing/{name}/{place}", chart)

    def _curves(self, name: str) -> dict[str, dict[str, list[Point]]]:
        """Return the shares of a module over steps, before the mask and behind it; nothing for a single step."""
        curves: dict[str, dict[str, list[Point]]] = {}
        for step, module, group, region, share, prior in self.history:
            for place, value in (("before_mask", prior), ("behind_mask", share)):
                if module == name and value is not None:
                    lines = curves.setdefault(place, {})
                    lines.setdefault(f"{group} in {region}", []).append(Point(float(step), (value,)))
        return {place: lines for place, lines in curves.items() if any(len(points) > 1 for points in lines.values())}


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def _add(reading: Reading, before: Reading | None) -> Reading:
    """Add up two readings of one gauge."""
    return reading if before is None else Reading(*(new + old for new, old in zip(reading, before, strict=True)))


def _numbered(gauges: Iterable[tuple[str, Gauge]]) -> Iterator[tuple[str, Gauge]]:
    """Yield gauges with a number behind the name where several routes mask one module."""
    seen: Counter[str] = Counter()
    for name, gauge in gauges:
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), gauge
