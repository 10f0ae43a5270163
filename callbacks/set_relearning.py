"""An attack that tries to teach a scorer again what was cut off it."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader

from lightning_vista.callbacks.ablation import routes_with_regions
from lightning_vista.callbacks.capability_profiles import inner_trainer, quiet, run_test
from lightning_vista.processes.progress import progress_bar
from lightning_vista.routing import Route
from lightning_vista.routing.checks import find_taps
from lightning_vista.routing.surgery import ablate_regions

if TYPE_CHECKING:  # scorers need the extra `vista`, which other callbacks do not
    from lightning_vista.scorers.dual.losses import PairBatch
    from lightning_vista.scorers.pair_training import PairData, PairTraining


class SetRelearning(L.Callback):
    """Fine-tuning of copies of a tested scorer on a few problem sets, after regions were cut off.

    At the start of `test`, for each number of problem sets, a copy without the regions is trained on them by the
    scorer's own loss, and tested on the same data as the scorer. All parameters are trained. Every metric is logged as
    `test/relearned/<number>/<metric>`, without the `test/` of the metric; `test/relearned/0/` is the copy before
    training. The problem sets are the same for any scorer. The tested scorer and its file of weights stay as they are.
    With `fast_dev_run` nothing happens.

    Args:
        types: Types of the problem sets, such as `home/permutation`, which are of one world.
        regions: Names of the regions to cut off first; none for a scorer that never learned these types.
        num_sets: Numbers of problem sets, one attack for each.
        steps: Number of optimizer steps.
        learning_rate: Highest AdamW learning rate.
        sets_per_step: Highest number of problem sets in a step.
        seed: Random seed of the problem sets.
        routes: The routes with the regions; those of the trainer's `GradientRouting` by default.

    Attributes:
        results: Number of problem sets -> metric -> value.

    Raises:
        ValueError: If `num_sets` or `types` is empty, a number is below 1, a region is in no route, or module and
            datamodule are not those of problem sets.

    Example:
        >>> attack = SetRelearning(["home/permutation"], num_sets=[4, 16], steps=20)
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[attack])
    """

    def __init__(
        self,
        types: Sequence[str],
        regions: Sequence[str] = (),
        num_sets: Sequence[int] = (4, 16, 64),
        steps: int = 40,
        learning_rate: float = 1e-3,
        sets_per_step: int = 16,
        seed: int = 0,
        routes: Sequence[Route] | None = None,
    ) -> None:
        if not types or not num_sets or min(*num_sets, steps, sets_per_step, 1) < 1:
            raise ValueError(
                "`types`, `num_sets`, `steps`, `sets_per_step`: expected at least one type and numbers of at least 1, "
                f"got {list(types)}, {list(num_sets)}, {steps} and {sets_per_step}."
            )
        self.types, self.regions, self.num_sets = list(types), list(regions), list(num_sets)
        self.steps, self.learning_rate, self.sets_per_step, self.seed = steps, learning_rate, sets_per_step, seed
        self.routes = None if routes is None else list(routes)
        self.results: dict[int, dict[str, float]] = {}

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Attack, before the test of the scorer itself."""
        self.results = {}
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
            return
        from lightning_vista.scorers.pair_training import PairData, PairTraining

        datamodule = getattr(trainer, "datamodule", None)
        if not isinstance(pl_module, PairTraining) or not isinstance(datamodule, PairData):
            raise ValueError(
                "SetRelearning: expected a scorer that `fit` trains and a MiniTrainingDataModule, got "
                f"{type(pl_module).__name__} and {type(datamodule).__name__}."
            )
        # Outside the test's inference mode, in which nothing can be trained.
        with torch.inference_mode(False), torch.enable_grad(), isolate_rng(), quiet():
            cut = self._cut(trainer, pl_module)
            self.results[0] = run_test(inner_trainer(trainer), copy.deepcopy(cut), trainer)
            with progress_bar("relearning", len(self.num_sets)) as advance:
                for count in self.num_sets:
                    taught = self._teach(trainer, copy.deepcopy(cut), datamodule, count)
                    self.results[count] = run_test(inner_trainer(trainer), taught, trainer)
                    advance(1)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the results."""
        for count, metrics in self.results.items():
            pl_module.log_dict({f"test/relearned/{count}/{name}": value for name, value in metrics.items()})

    def _cut(self, trainer: L.Trainer, module: "PairTraining") -> "PairTraining":
        """Return a copy without the regions."""
        cut = copy.deepcopy(module)
        if self.regions:
            routes = routes_with_regions(trainer, self, self.routes, self.regions)
            ablate_regions(cut, find_taps(routes, cut), self.regions, "zero", {})
        return cut

    def _teach(self, trainer: L.Trainer, module: "PairTraining", datamodule: "PairData", count: int) -> "PairTraining":
        """Train a scorer on problem sets."""
        parts = datamodule.sample_sets(self.types, count, self.seed, self.sets_per_step)
        batches = [parts[step % len(parts)] for step in range(self.steps)]
        module.learning_rate, module.out = self.learning_rate, None
        fitting = inner_trainer(trainer, max_steps=self.steps, limit_val_batches=0)
        loader: DataLoader[PairBatch] = DataLoader(batches, batch_size=None)  # type: ignore[arg-type] # a list is one
        fitting.fit(module.train(), loader, loader)  # Lightning warns of a missing loader even where nothing validates
        return module
