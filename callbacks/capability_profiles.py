"""Capability profiles: what a model can do with some of its regions, measured while testing and exported."""

import copy
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, get_args

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_vista.callbacks.ablation import Ablation, routes_with_regions
from lightning_vista.callbacks.finishing import ResultForm, find_pretrained, replace_weights, write_pretrained
from lightning_vista.drawing.boards import CellValue, Table, log_picture, log_table
from lightning_vista.drawing.pictures import draw_curves, draw_heat_map, shades
from lightning_vista.files.own_files import write_csv
from lightning_vista.files.run_files import run_files
from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.processes.progress import progress_bar
from lightning_vista.routing import Route, RoutingError
from lightning_vista.routing.checks import find_taps
from lightning_vista.routing.hooking import hook_tensor
from lightning_vista.routing.surgery import (
    merge_branches,
    scale_named_regions,
    scale_parameters,
    tap_factors,
    unplain_weights,
)
from lightning_vista.routing.tap import Tap

_log = logging.getLogger(__name__)
_COLUMNS = ("profile", "scale", "metric", "value")


class Setting(NamedTuple):
    """A profile at one scale.

    Attributes:
        profile: The name of the profile.
        scale: The factor of the activations of its regions.
        factors: Region -> factor, 0 for regions that are switched off.
    """

    profile: str
    scale: float
    factors: dict[str, float]


class CapabilityProfiles(L.Callback):
    """Tests of a model with any subset of its regions, and at any strength of them (GRAM, arXiv 2607.08077).

    A profile names the regions that are on. Regions that other profiles name are off: zero in the forward pass.
    *Titration* multiplies what the profile's regions return by a scale between 0 and 1.

    Before the test of the model itself, its whole test runs once for each profile and scale, on a copy. All metrics
    that the module logs are logged as `test/profile/<profile>/<metric>`, for scales other than 1 as
    `test/profile/<profile>@<scale>/<metric>`, without the `test/` of the metric. The run's folder gets `profiles.csv`,
    a heat map `test/profiles.png`, and the curves of each profile over the scales, `test/titration/<profile>.png`.
    Loggers get the table and pictures, see `lightning_vista.drawing.boards`. With `fast_dev_run` nothing happens.

    Exported profiles are models of their own. Regions that are off are cut off; branches that are on become hidden
    units of their MLPs (see `merge_branch`), so that transformers loads the folder `profiles/<profile>/` as any model.
    A checkpoint `profiles/<profile>.ckpt` keeps branches as they are, for `test --ckpt_path` with the same YAML.

    Regions that the tested checkpoint no longer has, as `ablated.ckpt`, count as off. Profiles with such regions are
    left out, with a warning.

    Args:
        profiles: Profile -> the regions that are on, such as `{"core": [], "core+bio": ["bio"]}`.
        scales: The scales of titration beside 1, such as `[0, 0.5]`.
        export: The profiles to export, such as `["core+bio", "core+bio@0.5"]` with a scale other than 1.
        write: The forms in which to export, "checkpoint", "folder" or "both".
        routes: The routes with these regions; those of the trainer's `GradientRouting` by default.

    Attributes:
        results: Profile, with its scale where that is not 1 -> metric -> value.

    Raises:
        ValueError: If an option has a value that is not allowed; while testing, if a region is in no route, a module
            to switch off is not called, a plain model cannot hold an exported profile, there are several processes, or
            there is an `Ablation(at="test")`.

    Example:
        >>> profiles = CapabilityProfiles({"core": [], "core+bio": ["bio"]}, scales=[0.5], export=["core+bio"])
        >>> list(profiles.settings)
        ['core', 'core+bio', 'core+bio@0.5']
    """

    def __init__(
        self,
        profiles: Mapping[str, Sequence[str]],
        scales: Sequence[float] = (),
        export: Sequence[str] = (),
        write: ResultForm = "folder",
        routes: Sequence[Route] | None = None,
    ) -> None:
        check_word("write", write, get_args(ResultForm))
        # Profiles name folders and logged values.
        if wrong := [name for name in profiles if not re.fullmatch(r"\w[\w+.-]*", name)]:
            raise ValueError(f"`profiles`: expected names of letters, digits and any of '_+.-', got {wrong}.")
        if wrong_scales := [scale for scale in scales if not 0 <= scale < float("inf")]:
            raise ValueError(f"`scales`: expected numbers of at least 0, got {wrong_scales}.")
        self.regions = list(dict.fromkeys(region for regions in profiles.values() for region in regions))
        if not self.regions:
            raise ValueError(f"`profiles`: expected at least one profile with a region, got {dict(profiles)}.")
        self.settings = dict(self._settings(profiles, scales))
        for name in export:
            check_word("export", name, self.settings)
        self.export, self.write = list(export), write
        self.routes = None if routes is None else list(routes)
        self.results: dict[str, dict[str, float]] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what cannot be measured or exported, before training too."""
        if stage == "test" and trainer.world_size > 1:
            raise ValueError(
                f"CapabilityProfiles: expected a test in one process, got {trainer.world_size}. Set `devices=1`."
            )
        if self.export and self.write != "checkpoint" and find_pretrained(pl_module) is None:
            raise ValueError(
                f"`write`: expected a module with a transformers model for {self.write!r}, got "
                f"{type(pl_module).__name__}. Set it to 'checkpoint'."
            )
        require("matplotlib", "plots")  # better to fail now than after the tests

    # Before the test itself: the module is still as it was loaded, without metrics, calibrated biases or other hooks.
    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Test and export the profiles."""
        self.results = {}
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
            return
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
        if any(isinstance(callback, Ablation) and callback.at == "test" for callback in callbacks):
            raise ValueError(
                "CapabilityProfiles: expected a test of the whole model, got an Ablation(at='test') too. Remove it; a "
                "profile without its regions measures the same."
            )
        routes, settings = self._available(trainer, pl_module)
        # Outside the test's inference mode, so that the copies are ordinary models.
        with torch.inference_mode(False), isolate_rng():
            self.results = measure(trainer, copy.deepcopy(pl_module), routes, settings)
            for label in self.export:
                if label in settings:
                    self._export(trainer, copy.deepcopy(pl_module), routes, label)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log and write the results."""
        for label, metrics in self.results.items():
            pl_module.log_dict({f"test/profile/{label}/{name}": value for name, value in metrics.items()})
        if self.results:
            self._write_table(trainer)
            self._draw(trainer)

    def _settings(
        self, profiles: Mapping[str, Sequence[str]], scales: Sequence[float]
    ) -> Iterator[tuple[str, Setting]]:
        """Yield the label of each profile and scale, and its factors."""
        for name, regions in profiles.items():
            # A profile without regions has nothing to scale.
            for scale in dict.fromkeys([1.0, *map(float, scales)] if regions else [1.0]):
                factors = {region: scale * (region in regions) for region in self.regions}
                yield (name if scale == 1 else f"{name}@{scale:g}"), Setting(name, scale, factors)

    def _available(self, trainer: L.Trainer, module: L.LightningModule) -> tuple[list[Route], dict[str, Setting]]:
        """Return the routes whose regions the tested model has, and the settings that it can be in."""
        routes: list[Route] = []
        reasons: list[str] = []
        for route in routes_with_regions(trainer, self, self.routes, self.regions):
            try:
                find_taps([route], module)
                routes.append(route)
            except RoutingError as error:
                reasons.append(str(error))
        present = {region for route in routes for region in route.regions}
        settings = {
            label: setting
            for label, setting in self.settings.items()
            if all(factor == 0 or region in present for region, factor in setting.factors.items())
        }
        if reasons:
            _log.warning(
                "CapabilityProfiles: the tested model lacks regions, which count as off. Left out: %s.\n%s",
                sorted(self.settings.keys() - settings.keys()), "\n".join(reasons),
            )  # fmt: skip
        return routes, settings

    def _export(self, trainer: L.Trainer, module: L.LightningModule, routes: Sequence[Route], label: str) -> None:
        """Write a profile as a model of its own."""
        path = run_files(trainer) / "profiles" / label
        factors = self.settings[label].factors
        scale_parameters(module, find_taps(routes, module, "something") if routes else [], factors)
        if self.write != "folder":
            checkpoint = path.with_name(f"{label}.ckpt")
            trainer.save_checkpoint(checkpoint, weights_only=True)
            replace_weights(checkpoint, module)
        if self.write != "checkpoint":
            model: Any = find_pretrained(module)
            merge_branches(model)
            if wrong := unplain_weights(model):
                raise ValueError(
                    f"`export`: expected profile {label!r} to fit a plain {type(model).__name__}, got other shapes of "
                    f"{wrong[:4]}. Expand all layers alike and without `bias`, or set `write` to 'checkpoint'."
                )
            write_pretrained(module, path, getattr(getattr(trainer, "datamodule", None), "tokenizer", None))

    def _write_table(self, trainer: L.Trainer) -> None:
        """Write the results as a table."""
        rows: list[tuple[CellValue, ...]] = [
            (self.settings[label].profile, self.settings[label].scale, metric, value)
            for label, metrics in self.results.items()
            for metric, value in metrics.items()
        ]
        write_csv(run_files(trainer) / "profiles.csv", [_COLUMNS, *rows])
        log_table(trainer, "test/profiles_table", Table(_COLUMNS, rows))

    def _draw(self, trainer: L.Trainer) -> None:
        """Draw the results."""
        full = [label for label in self.results if self.settings[label].scale == 1]
        metrics = list(dict.fromkeys(name for values in self.results.values() for name in values))
        table = [[self.results[label].get(name, float("nan")) for name in metrics] for label in full]
        texts = [[f"{value:#.3g}" for value in row] for row in table]
        subtitle = "darker for larger values of a metric"
        log_picture(trainer, "test/profiles", draw_heat_map("profiles", subtitle, full, metrics, shades(table), texts))
        for profile in full:
            labels = [label for label in self.results if self.settings[label].profile == profile]
            labels.sort(key=lambda label: self.settings[label].scale)
            if len(labels) > 1:
                scales = [self.settings[label].scale for label in labels]
                curves = {name: [self.results[label].get(name, float("nan")) for label in labels] for name in metrics}
                picture = draw_curves(f"titration of {profile}", "scale", scales, curves)
                log_picture(trainer, f"test/titration/{profile}", picture)


def measure(
    trainer: L.Trainer, module: L.LightningModule, routes: Sequence[Route], settings: Mapping[str, Setting]
) -> dict[str, dict[str, float]]:
    """Test a module under several settings by Lightning's own loop, on the data of a trainer that is testing.

    Args:
        trainer: The trainer, in one process.
        module: A copy of its module.
        routes: The routes with the regions.
        settings: Label -> setting.

    Returns:
        Label -> metric, without `test/` -> value.
    """
    taps = find_taps(routes, module) if routes else []
    is_compiled = any("_orig_mod" in name.split(".") for name, _ in module.named_modules())
    measured: dict[tuple[float, ...], dict[str, float]] = {}
    with quiet(), progress_bar("profiles", len(settings)) as advance:
        inner = inner_trainer(trainer)
        for setting in settings.values():
            key = tuple(setting.factors.values())
            if key not in measured:  # of several profiles at scale 0 one is enough
                if is_compiled:  # what was compiled with the hooks of one setting would ignore those of the next
                    torch.compiler.reset()
                with scaled_regions(taps, setting.factors):
                    measured[key] = run_test(inner, module, trainer)
            advance(1)
    return {label: measured[tuple(setting.factors.values())] for label, setting in settings.items()}


def inner_trainer(trainer: L.Trainer, **options: Any) -> L.Trainer:
    """Make a trainer for a copy of the module, since a test within a test would end the loop that runs.

    Args:
        trainer: The trainer that runs, in one process.
        **options: Further options of the new one.

    Returns:
        A trainer on the same device and in the same precision, which logs and writes nothing.
    """
    device = trainer.strategy.root_device
    return L.Trainer(
        accelerator=trainer.accelerator,
        devices=[device.index] if device.index is not None else 1,
        plugins=[trainer.precision_plugin],
        limit_test_batches=trainer.limit_test_batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def run_test(inner: L.Trainer, module: L.LightningModule, trainer: L.Trainer) -> dict[str, float]:
    """Test a module on another trainer's data.

    Args:
        inner: The trainer to test with.
        module: The module.
        trainer: The trainer with the data.

    Returns:
        Metric, without `test/` -> value.
    """
    datamodule = getattr(trainer, "datamodule", None)
    if datamodule is None:
        outcome = inner.test(module, dataloaders=trainer.test_dataloaders, verbose=False)
    else:  # a copy, which may be set up and torn down, and has the inner trainer
        outcome = inner.test(module, datamodule=copy.copy(datamodule), verbose=False)
    return {name.removeprefix("test/"): float(value) for metrics in outcome for name, value in metrics.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what Lightning says of each trainer, since the user has one."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def scaled_regions(taps: Sequence[Tap], factors: Mapping[str, float]) -> Iterator[None]:
    """Scale the regions of a model in its forward pass, within the context.

    Args:
        taps: The routed modules.
        factors: Region -> factor; other regions stay.

    Raises:
        ValueError: If a module was not called within the context.
    """
    chosen = tap_factors(taps, {name: factor for name, factor in factors.items() if factor != 1})
    called: set[str] = set()

    def scale(tap: Tap, own: Mapping[str, float], x: Tensor) -> Tensor:
        called.add(tap.key)
        return scale_named_regions(x, tap.route, own)

    handles = [
        hook_tensor(tap.module, tap.place.at, partial(scale, tap, own), tap.name) for tap, own in chosen
    ]  # fmt: skip
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if missing := sorted({tap.key for tap, _ in chosen} - called):
        raise ValueError(
            f"CapabilityProfiles: expected the test to call {missing}, got no call. Check that `test_step` uses it. If "
            "the model was compiled and called before, call `torch.compiler.reset()` first."
        )
