"""An attack that tries to bring back what a model has forgotten."""

import copy
import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

import lightning as L
import torch

from lightning_vista.drawing.boards import Table, log_chart, log_table
from lightning_vista.drawing.charts import Chart, Point
from lightning_vista.files.csv_tables import naming_table
from lightning_vista.files.own_files import write_csv
from lightning_vista.files.run_files import run_files
from lightning_vista.models.curve import Curve, lowest, steps_to_reach
from lightning_vista.models.finetuning import Batch, Sampling, TokenLosses, check_finetuning, finetune, held_out_texts
from lightning_vista.optional import require
from lightning_vista.options import check_counts
from lightning_vista.processes.progress import progress_bar

#: For each number of texts and each learning rate the curve of each repeat.
Attacks = dict[int, dict[float, list[Curve]]]


class RelearningAttack(L.Callback):
    """Fine-tuning of copies of the tested model on a few forget texts: robust unlearning (gradient routing, 4.2.2).

    The attack runs at the end of `test`, for each number of texts, `repeats` times with other texts each time. It logs
    the lowest loss on held-out forget texts over the steps, and the retain loss at that step, as
    `test/relearned/<number>/forget` and `.../retain`. Both are means over repeats; the first says little without the
    second. `test/relearned/0/forget` and `.../retain` are the losses of the tested model on the same held-out texts.
    Compare the others with these: `test/loss/forget` is over all test texts. `relearning.csv` in the run's folder has
    all losses, and the pictures `test/relearning/forget.png` and `retain.png` show them over the steps; loggers get
    both (see `lightning_vista.drawing.boards`). The tested model stays as it is. With `fast_dev_run` nothing happens.

    All models are attacked alike. With the same data and seed, the texts are the same for any tested model, and an
    attack trains all parameters of its copy, frozen ones too.

    *Several learning rates.* An attacker takes the best one. For each number of texts that is the rate with the lowest
    mean loss on forget texts of the validation data, which are not reported: the lowest of several losses on the
    reported texts would be too low by chance. The figures above are then those of the chosen rate, the same as with
    that rate alone. `test/relearned/<number>/learning_rate` is the rate, and
    `test/relearned/<number>/rate_<rate>/forget` and `.../retain` are the figures of each.

    *Steps back to a baseline.* With `baseline`, `test/relearned/<number>/steps_to_baseline` is the first evaluated step
    with at most this forget loss, a mean over repeats. It is infinite, which is to say not reached, if a repeat does
    not get there.

    It needs a module with `token_losses` and a datamodule with `sample`, such as `LanguageModelModule` and
    `StoriesDataModule`.

    Args:
        num_samples: The numbers of forget texts of the training data, one attack for each.
        steps: The number of AdamW steps, each on all of these texts.
        learning_rate: AdamW learning rate, or several of them.
        repeats: The number of repetitions of each attack.
        num_evaluated: The number of held-out test texts of each kind, forget and retain; with several learning rates
            also of the validation texts that choose.
        evaluate_every: The number of steps between two evaluations of held-out texts.
        batch_size: The number of texts that go through the model at a time.
        seed: Random seed for sampling texts.
        retain_share: The share of retain texts of the training data among the texts of each step, below 1: with .5,
            as many as forget texts.
        patience: The number of evaluations in a row without a lower held-out forget loss after which an attack ends;
            none by default.
        baseline: The forget loss of a model to get back to, in nats; or the `relearning.csv` of its test, or the folder
            of that file, whose loss before the attack is then on the same held-out texts.

    Attributes:
        curves: For each number of texts the held-out losses of each repeat over the steps, at the chosen learning rate;
            for 0 texts, of the model before the attack.
        learning_rates: The chosen learning rate for each number of texts.

    Raises:
        ValueError: If `num_samples` is empty or has a number below 1, an option is out of its range, module or
            datamodule lack what is needed, there are too few texts, or the file of `baseline` has another form.
        FileNotFoundError: If the file at `baseline` does not exist.

    Example:
        >>> attack = RelearningAttack([4], repeats=2, learning_rate=[1e-3, 1e-4], retain_share=0.5)
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[attack])
    """

    def __init__(
        self,
        num_samples: Sequence[int] = (1, 4, 16, 64),
        steps: int = 40,
        learning_rate: float | Sequence[float] = 5e-5,
        repeats: int = 5,
        num_evaluated: int = 64,
        evaluate_every: int = 5,
        batch_size: int = 16,
        seed: int = 0,
        retain_share: float = 0.0,
        patience: int | None = None,
        baseline: float | str | None = None,
    ) -> None:
        if not num_samples or min(num_samples) < 1 or repeats < 1:
            raise ValueError(
                f"`num_samples`, `repeats`: expected numbers of at least 1, got {list(num_samples)} and {repeats}. "
                "The losses without an attack are always logged, as those of 0 texts."
            )
        check_counts(num_evaluated=num_evaluated, evaluate_every=evaluate_every, batch_size=batch_size)
        rates = learning_rate if isinstance(learning_rate, Sequence) else [learning_rate]
        self.rates = list(dict.fromkeys(rates))
        if not self.rates or not 0 <= retain_share < 1 or (patience is not None and patience < 1):
            raise ValueError(
                "`learning_rate`, `retain_share`, `patience`: expected at least one rate, a share of at least 0 and "
                f"below 1, and a number of at least 1 or none, got {self.rates}, {retain_share} and {patience}."
            )
        self.num_samples, self.steps, self.repeats = num_samples, steps, repeats
        self.num_evaluated, self.evaluate_every = num_evaluated, evaluate_every
        self.batch_size, self.seed = batch_size, seed
        self.retain_share, self.patience, self.baseline = retain_share, patience, baseline
        self.curves: dict[int, list[Curve]] = {}
        self.learning_rates: dict[int, float] = {}
        self._reference: float | None = None

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sample the largest number of texts, so that missing ones are reported before testing."""
        require("matplotlib", "plots")  # better to fail now than after the attack
        self._reference = read_reference(self.baseline) if isinstance(self.baseline, str) else self.baseline
        _, datamodule = check_finetuning(trainer, pl_module, self)
        self._texts(datamodule, max(self.num_samples), self.seed)
        self._held_out(datamodule)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Attack in the first process, and log the results."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
            return
        attacks: Attacks = {}
        if trainer.is_global_zero:
            # Lightning tests in inference mode, in which nothing can be trained.
            with torch.inference_mode(False), torch.enable_grad():
                attacks = self._attack(trainer, *check_finetuning(trainer, pl_module, self))
            write_curves(attacks, run_files(trainer) / "relearning.csv")
        attacks = trainer.strategy.broadcast(attacks)
        self.learning_rates = {count: _best_rate(curves) for count, curves in attacks.items()}
        # Step 0 is that of the tested model, the same in all curves: figures of their own, so that tables can compare.
        before = next(_flat(attacks))[-1][:1]
        self.curves = {0: [before]} | {count: attacks[count][rate] for count, rate in self.learning_rates.items()}
        for name, curves in self._named_curves(attacks).items():
            relearned = [lowest(curve, "forget") for curve in curves]
            for kind in ("forget", "retain"):
                pl_module.log(f"test/relearned/{name}/{kind}", fmean(point[kind] for point in relearned))
            if self._reference is not None and name != "0":
                reached = [steps_to_reach(curve, "forget", self._reference) for curve in curves]
                pl_module.log(f"test/relearned/{name}/steps_to_baseline", fmean(reached))
        if len(self.rates) > 1:
            for count, rate in self.learning_rates.items():
                pl_module.log(f"test/relearned/{count}/learning_rate", rate)
        if trainer.is_global_zero:
            self._show(trainer)

    def _show(self, trainer: L.Trainer) -> None:
        """Show the losses over the steps, at the chosen learning rates, in the loggers."""
        rows = [
            (count, repeat, *(point[name] for name in ("step", "forget", "retain")))
            for count, curves in self.curves.items()
            for repeat, curve in enumerate(curves)
            for point in curve
        ]
        log_table(trainer, "test/relearning", Table(("num_samples", "repeat", "step", "forget", "retain"), rows))
        for kind in ("forget", "retain"):
            lines = {f"{count} texts": _points(curves, kind) for count, curves in self.curves.items() if count}
            title = f"{kind.capitalize()} loss while relearning"
            chart = Chart(title, lines, "Step", "Loss, nats", lines=True)
            log_chart(trainer, f"test/relearning/{kind}", chart)

    def _attack(self, trainer: L.Trainer, module: TokenLosses, datamodule: Sampling) -> Attacks:
        """Return the curves of all attacks."""
        held_out = self._held_out(datamodule)

        def attack(count: int, rate: float, repeat: int) -> Curve:
            attacked = copy.deepcopy(module)
            for parameter in attacked.parameters():  # an adapter left in the model has frozen the rest
                parameter.requires_grad_(parameter.is_floating_point())
            return finetune(
                attacked,
                self._texts(datamodule, count, self.seed + repeat),
                held_out,
                self.steps,
                rate,
                self.evaluate_every,
                batch_size=self.batch_size,
                forward_context=trainer.precision_plugin.forward_context,
                patience=self.patience,
            )

        attacks: Attacks = {count: {rate: [] for rate in self.rates} for count in self.num_samples}
        with progress_bar("relearning", len(attacks) * len(self.rates) * self.repeats) as advance:
            for count, rate, repeat in product(attacks, self.rates, range(self.repeats)):
                attacks[count][rate].append(attack(count, rate, repeat))
                advance(1)
        return attacks

    def _texts(self, datamodule: Sampling, count: int, seed: int) -> list[Batch]:
        """Return the forget texts of an attack, and the retain texts mixed with them."""
        mixed = round(count * self.retain_share / (1 - self.retain_share))
        texts = [datamodule.sample("train", True, count, seed)]
        return [*texts, datamodule.sample("train", False, mixed, seed)] if mixed else texts

    def _held_out(self, datamodule: Sampling) -> dict[str, Batch]:
        """Return the held-out texts: those that are reported and, for several rates, those that choose one."""
        held_out = held_out_texts(datamodule, "test", self.num_evaluated, self.seed)
        if len(self.rates) > 1:
            held_out["validation"] = datamodule.sample("validation", True, self.num_evaluated, self.seed)
        return held_out

    def _named_curves(self, attacks: Attacks) -> dict[str, list[Curve]]:
        """Return the curves behind each group of logged figures."""
        named = {str(count): curves for count, curves in self.curves.items()}
        if len(self.rates) > 1:
            named |= {f"{count}/rate_{rate:g}": attacks[count][rate] for count in attacks for rate in self.rates}
        return named


def read_reference(path: str) -> float:
    """Read the forget loss of a tested model before its attack.

    Args:
        path: The `relearning.csv` of the test, or its folder.

    Returns:
        The loss on held-out test texts, in nats.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it has no loss of 0 texts.
    """
    file = Path(path) / "relearning.csv" if Path(path).is_dir() else Path(path)
    with naming_table(file), file.open(encoding="utf-8", newline="") as table:
        losses = [row["forget"] for row in csv.DictReader(table) if row.get("num_samples") == "0"]
    if not losses:
        raise ValueError(f"`baseline`: expected a table `relearning.csv` with a loss of 0 texts, got {file}.")
    return float(losses[0])


def write_curves(attacks: Attacks, path: Path) -> None:
    """Write the held-out losses of all attacks as a table, which names the learning rate if there are several.

    Args:
        attacks: The attacks.
        path: The CSV file to write.
    """
    *_, first = next(_flat(attacks))
    before = {"num_samples": 0, "repeat": 0, **first[0]}
    rows = [
        {"num_samples": count, "repeat": repeat, "learning_rate": rate, **point}
        for count, rate, repeat, curve in _flat(attacks)
        for point in curve
    ]
    several = len({row["learning_rate"] for row in rows}) > 1
    columns = ["num_samples", "repeat", *(["learning_rate"] if several else []), *first[0]]
    write_csv(path, [columns, *([row.get(column, "") for column in columns] for row in [before, *rows])])


def _best_rate(curves: Mapping[float, Sequence[Curve]]) -> float:
    """Return the learning rate with the lowest mean over repeats of the lowest loss on validation texts."""
    if len(curves) == 1:
        return next(iter(curves))
    means = {
        rate: fmean(lowest(curve, "validation")["validation"] for curve in repeats) for rate, repeats in curves.items()
    }
    return min(means, key=means.__getitem__)


def _points(curves: Sequence[Curve], kind: str) -> list[Point]:
    """Return the losses of all repeats at each step; a repeat that ended early stays at its last one.

    Otherwise the mean would be that of other repeats from there on.
    """
    steps = sorted({point["step"] for curve in curves for point in curve})
    reached = [[[point for point in curve if point["step"] <= step][-1] for curve in curves] for step in steps]
    return [Point(step, tuple(point[kind] for point in points)) for step, points in zip(steps, reached, strict=True)]


def _flat(attacks: Attacks) -> Iterator[tuple[int, float, int, Curve]]:
    """Yield the number of texts, learning rate, repeat and curve of each attack."""
    for count, by_rate in attacks.items():
        for rate, curves in by_rate.items():
            for repeat, curve in enumerate(curves):
                yield count, rate, repeat, curve
