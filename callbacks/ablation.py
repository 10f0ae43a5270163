"""Ablation of regions of a trained model, while testing or at the end of training."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import lightning as L
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from lightning_vista.callbacks.finishing import Finishing, ResultForm, find_pretrained
from lightning_vista.callbacks.gradient_routing import find_routing
from lightning_vista.models.lora import adapter_names, cut_adapters, merge_adapters
from lightning_vista.options import check_word
from lightning_vista.routing import Route
from lightning_vista.routing.checks import find_taps
from lightning_vista.routing.hooking import hook_tensor
from lightning_vista.routing.surgery import AblationMode, ablate_regions, replace_regions
from lightning_vista.routing.tap import Tap

AblationTime = Literal["test", "end"]
#: Forms of the adapters that are left.
AdapterForm = Literal["merged", "adapter"]


class Ablation(Finishing):
    """Ablation of regions, in `test` or at the end of `fit`. The trained model and its checkpoints stay as they are.

    `at="test"`: during `test` the units of the regions are zero, or their mean over the last validation epoch, which
    checkpoints keep. `at="end"`: `fit` writes `ablated.ckpt` into the run's folder, an ordinary checkpoint of the
    weights without the regions. Where the module holds a transformers model, `fit` also writes that model to
    `ablated/`. Callbacks such as `CoherenceTuning` continue with the ablated model, see `Finishing`.

    Args:
        regions: The names of the regions to ablate, in every route that has them.
        at: The time of the ablation, "test" or "end".
        mode: "zero" sets units to zero. "mean" sets each entry of the routed tensor to its mean over the samples,
            tokens and positions of the last validation epoch. "slice" cuts units off, so that weights get the shapes
            from before an expansion; for `at="end"` only.
            Before an activation, "mean" needs an elementwise one that is a module, and the others one that keeps zero.
        routes: The routes with these regions; those of the trainer's `GradientRouting` by default.
        write: The forms in which to write the result, "checkpoint", "folder" or "both", see `Finishing`.
        adapters: The names of adapters to cut off, see `Adapters`; for `at="end"` only.
        export: The form of the adapters that are left: "merged" adds them to the weights, so that the result is a plain
            model; "adapter" keeps them, so that the folder is one of peft, which refers to the base model.

    Attributes:
        means: For each routed tensor its mean over the last validation epoch `(units * unit_size,)`.

    Raises:
        ValueError: If an option is another word, a region is in no route, the means have not been computed, a module to
            ablate is not called, the model lacks the adapter, or one adapter is to be exported and several are left.
        UnknownStructureError: At the start of `fit`, if the parameters of units are not known (`at="end"`).

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[Ablation(["low"])])
    """

    name = "ablated"

    def __init__(
        self,
        regions: Sequence[str] = (),
        at: AblationTime = "test",
        mode: AblationMode = "zero",
        routes: list[Route] | None = None,
        write: ResultForm = "both",
        adapters: Sequence[str] = (),
        export: AdapterForm = "merged",
    ) -> None:
        check_word("at", at, get_args(AblationTime))
        check_word("mode", mode, get_args(AblationMode))
        check_word("export", export, get_args(AdapterForm))
        if not regions and not adapters:
            raise ValueError("`regions`, `adapters`: expected at least one region or adapter to ablate, got none.")
        if adapters and at == "test":
            raise ValueError("`at`: expected 'end' for adapters, which are cut off for good, got 'test'.")
        if mode == "slice" and at == "test":
            raise ValueError("`mode`: expected 'zero' or 'mean' for at='test', got 'slice'. 'zero' computes the same.")
        super().__init__(write)
        self.regions = list(regions)
        self.at = at
        self.mode = mode
        self.routes = routes
        self.adapters, self.export = list(adapters), export
        self.means: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._not_called: set[str] = set()

    @property
    def state_key(self) -> str:
        """The key that distinguishes several of these callbacks in a checkpoint."""
        others = {"adapters": self.adapters} if self.adapters else {}  # keys of older checkpoints stay the same
        return self._generate_state_key(regions=self.regions, at=self.at, mode=self.mode, **others)

    def state_dict(self) -> dict[str, Any]:
        """Return the means of the last validation epoch."""
        return {"means": self.means}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the means from the checkpoint."""
        self.means = state_dict["means"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ablate a copy, so that anything impossible is reported before training."""
        if self.at == "end":
            # Means are computed during training; zeros have their shape, which is all that is tried here.
            taps = self._taps(trainer, pl_module)
            widths = {tap.key: tap.units.size * tap.place.unit_size for tap in taps if tap.units}
            no_means = {key: torch.zeros(width) for key, width in widths.items()}
            trial = copy.deepcopy(pl_module)
            ablate_regions(trial, taps, self.regions, self.mode, no_means)
            self._cut(trial)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start to measure means."""
        # The sanity check before training would measure the untrained model on a few batches.
        if self.mode == "mean" and not trainer.sanity_checking:
            self._hook(self._taps(trainer, pl_module), self._add)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the means over all processes."""
        self._remove()
        sums, self._sums = self._sums, {}
        for key, sum_and_count in sums.items():
            *entries, count = trainer.strategy.reduce(sum_and_count.to(pl_module.device), reduce_op="sum").cpu()
            self.means[key] = torch.stack(entries) / count

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Register hooks on the routed modules."""
        if self.at != "test":
            return
        # A compiled model ignores hooks that come after its first call, so a call without ablation must be noticed.
        taps = self._taps(trainer, pl_module)
        self._not_called = {tap.key for tap in taps}
        if self.mode == "mean" and (missing := self._not_called - set(self.means)):
            raise ValueError(
                f"Ablation: expected means of {sorted(missing)}, got none. Test a checkpoint (`--ckpt_path`) whose "
                "training had the same Ablation callback and validated, or use the mode 'zero'."
            )
        self._hook(taps, self._ablate)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        """Check that the first batch was ablated."""
        if self._not_called:
            raise ValueError(
                f"Ablation: expected the first batch to call {sorted(self._not_called)}, got no call. Check that "
                "`test_step` uses it. If the model was compiled and called before, call `torch.compiler.reset()` first."
            )

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove all hooks."""
        self._remove()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove all hooks."""
        self._remove()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the model without the regions."""
        if self.at == "end":
            super().on_train_end(trainer, pl_module)

    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Remove the regions and the adapters."""
        ablate_regions(module, self._taps(trainer, module), self.regions, self.mode, self.means)
        self._cut(module)

    def _cut(self, module: L.LightningModule) -> None:
        """Cut adapters off, and merge the others if they are to be exported so."""
        if not self.adapters:
            return
        model = find_pretrained(module)
        cut_adapters(model, self.adapters)
        if self.export == "merged":
            merge_adapters(model)
        elif len(left := adapter_names(model)) > 1:
            raise ValueError(
                f"`export`: expected one adapter to be left for 'adapter', got {left}. Set it to 'merged'."
            )

    def _taps(self, trainer: L.Trainer, pl_module: L.LightningModule) -> list[Tap]:
        """Return the routed modules that have one of the regions."""
        if not self.regions:
            return []
        routes = routes_with_regions(trainer, self, self.routes, self.regions)
        return find_taps(routes, pl_module, "something" if self.at == "end" else "nothing")

    def _hook(self, taps: Sequence[Tap], change: Callable[[Tap, Tensor], Tensor]) -> None:
        self._handles = [hook_tensor(tap.module, tap.place.at, partial(change, tap), tap.name) for tap in taps]

    def _add(self, tap: Tap, x: Tensor) -> Tensor:
        """Add up the entries of a tensor, and the number of rows."""
        # Batches add up in double precision, with the number of rows as a last entry: one reduction serves both.
        rows = x.detach().movedim(tap.place.dim, -1).flatten(0, -2).float()
        sums = torch.cat([rows.sum(0), rows.new_tensor([len(rows)])]).cpu().double()
        self._sums[tap.key] = self._sums.get(tap.key, 0) + sums
        return x

    def _ablate(self, tap: Tap, x: Tensor) -> Tensor:
        self._not_called.discard(tap.key)
        return replace_regions(x, tap.route, self.regions, self.means.get(tap.key))

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def routes_with_regions(
    trainer: L.Trainer, asker: L.Callback, routes: Sequence[Route] | None, regions: Sequence[str]
) -> list[Route]:
    """Find the routes that have one of some regions.

    Args:
        trainer: The trainer.
        asker: The callback that needs them, for the error.
        routes: The routes to choose from; by default those of the trainer's `GradientRouting`.
        regions: The names of the regions.

    Returns:
        The routes.

    Raises:
        ValueError: If a region is missing from all routes, or the trainer lacks a `GradientRouting`.
    """
    if routes is None:
        every = (route for routing in find_routing(trainer, asker) for route in routing.router.routes)
        routes = [route for route in every if isinstance(route, Route)]
    known = {region for route in routes for region in route.regions}
    if unknown := set(regions) - known:
        raise ValueError(f"`regions`: expected regions of the routes, {sorted(known)}, got {sorted(unknown)}.")
    return [route for route in routes if set(regions) & set(route.regions)]
