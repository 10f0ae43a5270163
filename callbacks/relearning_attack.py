"""An attack that tries to bring back what a model has forgotten."""

import copy
import csv
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

import lightning as L
import torch

from lightning_vista.models.finetuning import (
    Curve,
    Sampling,
    TokenLosses,
    check_finetuning,
    finetune,
    held_out_texts,
    lowest,
)
from lightning_vista.progress import progress_bar
from lightning_vista.run_files import run_files

_COLUMNS = ("num_samples", "repeat", "step", "forget", "retain")


class RelearningAttack(L.Callback):
    """Fine-tuning of copies of the tested model on a few forget texts: robust unlearning (gradient routing, 4.2.2).

    The attack runs at the end of `test`, for each number of texts, `repeats` times with other texts each time. It logs
    the lowest loss on held-out forget texts over the steps, and the retain loss at that step, as
    `test/relearned/<number>/forget` and `.../retain`. Both are means over repeats; the first says little without the
    second. `test/relearned/0/forget` and `.../retain` are the losses of the tested model on the same held-out texts.
    Compare the others with these: `test/loss/forget` is over all test texts. `relearning.csv` in the run's folder has
    all losses. The tested model stays as it is. With `fast_dev_run` nothing happens.

    All models are attacked alike: with the same data and seed, the texts are the same for any tested model.

    It needs a module with `token_losses` and a datamodule with `sample`, such as `LanguageModelModule` and
    `StoriesDataModule`.

    Args:
        num_samples: The numbers of forget texts of the training data, one attack for each.
        steps: The number of AdamW steps, each on all of these texts.
        learning_rate: AdamW learning rate.
        repeats: The number of repetitions of each attack.
        num_evaluated: The number of held-out test texts of each kind, forget and retain.
        evaluate_every: The number of steps between two evaluations of held-out texts.
        batch_size: The number of texts that go through the model at a time.
        seed: Random seed for sampling texts.

    Attributes:
        curves: For each number of texts the held-out losses of each repeat over the steps; for 0 texts, of the model
            before the attack.

    Raises:
        ValueError: If `num_samples` is empty or has a number below 1, module or datamodule lack what is needed, or
            there are too few texts.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[RelearningAttack([4], repeats=2)])
    """

    def __init__(
        self,
        num_samples: Sequence[int] = (1, 4, 16, 64),
        steps: int = 40,
        learning_rate: float = 5e-5,
        repeats: int = 5,
        num_evaluated: int = 64,
        evaluate_every: int = 5,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        if not num_samples or min(num_samples) < 1 or repeats < 1:
            raise ValueError(
                f"`num_samples`, `repeats`: expected numbers of at least 1, got {list(num_samples)} and {repeats}. "
                "The losses without an attack are always logged, as those of 0 texts."
            )
        self.num_samples, self.steps, self.learning_rate, self.repeats = num_samples, steps, learning_rate, repeats
        self.num_evaluated, self.evaluate_every = num_evaluated, evaluate_every
        self.batch_size, self.seed = batch_size, seed
        self.curves: dict[int, list[Curve]] = {}

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sample the largest number of texts, so that missing ones are reported before testing."""
        _, datamodule = check_finetuning(trainer, pl_module, self)
        datamodule.sample("train", True, max(self.num_samples), self.seed)
        held_out_texts(datamodule, "test", self.num_evaluated, self.seed)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Attack in the first process, and log the results."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
            return
        if trainer.is_global_zero:
            # Lightning tests in inference mode, in which nothing can be trained.
            with torch.inference_mode(False), torch.enable_grad():
                self.curves = self._attack(trainer, *check_finetuning(trainer, pl_module, self))
            write_curves(self.curves, run_files(trainer) / "relearning.csv")
        self.curves = trainer.strategy.broadcast(self.curves)
        for count, curves in self.curves.items():
            relearned = [lowest(curve, "forget") for curve in curves]
            for kind in ("forget", "retain"):
                pl_module.log(f"test/relearned/{count}/{kind}", fmean(point[kind] for point in relearned))

    def _attack(self, trainer: L.Trainer, module: TokenLosses, datamodule: Sampling) -> dict[int, list[Curve]]:
        """Return the curves of all attacks, after the point before them."""
        held_out = held_out_texts(datamodule, "test", self.num_evaluated, self.seed)

        def attack(count: int, repeat: int) -> Curve:
            return finetune(
                copy.deepcopy(module),
                datamodule.sample("train", True, count, self.seed + repeat),
                held_out,
                self.steps,
                self.learning_rate,
                self.evaluate_every,
                batch_size=self.batch_size,
                forward_context=trainer.precision_plugin.forward_context,
            )

        curves: dict[int, list[Curve]] = {count: [] for count in self.num_samples}
        with progress_bar("relearning", len(curves) * self.repeats) as advance:
            for count, repeat in product(curves, range(self.repeats)):
                curves[count].append(attack(count, repeat))
                advance(1)
        # Step 0 is that of the tested model, the same in all curves: a row of its own, so that a table can compare.
        before = curves[self.num_samples[0]][0][:1]
        return {0: [before], **curves}


def write_curves(curves: Mapping[int, Sequence[Curve]], path: Path) -> None:
    """Write the held-out losses of all attacks as a table.

    Args:
        curves: For each number of texts the losses of each repeat over the steps.
        path: The CSV file to write.
    """
    rows = (
        [count, repeat, *(point[column] for column in _COLUMNS[2:])]
        for count, repeats in curves.items()
        for repeat, curve in enumerate(repeats)
        for point in curve
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])
