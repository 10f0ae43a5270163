"""A table of the losses of `fit` for runs whose loggers keep none."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from lightning_vista.files.csv_tables import csv_text, naming_table
from lightning_vista.files.own_files import named_error, write_csv
from lightning_vista.files.run_files import free_path, run_files

_STEP, _EPOCH = "step", "epoch"
#: Entry of checkpoints for the name of the table.
_KEY = "loss_log"
#: Highest number of rows that wait to be written.
_ROWS = 64


class LossLog(L.Callback):
    """A table of everything that `fit` logs as `train/...` and `val/...`: `losses.csv` in the run's folder.

    A row has the optimizer steps and whole epochs done so far, and the values logged there, others empty: those of
    training every `log_every_n_steps` steps and at the end of an epoch, those of validation after each. A run that
    resumes continues its table from the checkpoint's step; another run in the same folder gets `losses-2.csv`. Nothing
    happens with `fast_dev_run`, or beside a `CSVLogger`, which keeps the same values.

    `lightning-vista fit` adds this callback by itself.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[LossLog()])
    """

    def __init__(self) -> None:
        self._name: str | None = None  # of the table that a checkpoint belongs to
        self._is_active = False
        self._path: Path | None = None  # in the first process
        self._columns: list[str] = []
        # Tensors wait as they are: a number of each would make the accelerator wait for every step.
        self._rows: list[dict[str, Any]] = []
        self._last_step = 0
        # Lightning keeps the values of earlier epochs; those that are still the same objects are old.
        self._old: dict[str, Tensor] = {}
        self._of_steps: set[str] = set()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the name of the table to continue."""
        self._name = checkpoint.get(_KEY)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a table, or continue that of the checkpoint without the rows after it."""
        self._path, self._columns, self._rows = None, [_STEP, _EPOCH], []
        self._old, self._of_steps = {}, set()
        has_table = any(isinstance(logger, CSVLogger) for logger in trainer.loggers)
        self._is_active = not has_table and not trainer.fast_dev_run  # type: ignore[attr-defined] # set by connectors
        self._last_step = trainer.global_step
        if not self._is_active or not trainer.is_global_zero:
            return
        folder, is_resumed = run_files(trainer), trainer.ckpt_path is not None
        if self._name is not None and is_resumed and (path := folder / self._name).is_file():
            self._columns = _drop_later_rows(path, trainer.global_step)
        else:
            path = free_path(folder / "losses.csv")
        self._path, self._name = path, path.name

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note what was logged in a step."""
        every, step = trainer.log_every_n_steps, trainer.global_step  # type: ignore[attr-defined] # set by connectors
        # By quotients: a batch may take several steps, or, where batches are accumulated, none.
        is_due = every and step // every != self._last_step // every
        if not self._is_active or not (is_due or batch_idx == 0):
            return
        values = self._fresh(trainer)
        self._of_steps |= set(values)
        if is_due:
            self._last_step = step
            self._note(trainer, values)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what was logged for the last epoch; its own end is too early for what the module logs there."""
        self._note_epoch(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what a validation has logged."""
        if self._is_active and not trainer.sanity_checking:
            self._note(trainer, {n: v for n, v in trainer.callback_metrics.items() if n.startswith("val/")})
            self._flush()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write all rows that a run from this checkpoint would not make again, and note the name of the table."""
        # An entry of its own: Lightning warns about a callback's state wherever that callback is missing, as in tests.
        if self._is_active:
            checkpoint[_KEY] = self._name
        self._flush()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the rest."""
        self._note_epoch(trainer)
        self._flush()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write the rest."""
        self._flush()

    def _fresh(self, trainer: L.Trainer) -> dict[str, Tensor]:
        """Return what was logged for training since the last epoch; every process asks, since they may share values."""
        metrics = trainer.callback_metrics.items()
        return {n: value for n, value in metrics if n.startswith("train/") and value is not self._old.get(n)}

    def _note_epoch(self, trainer: L.Trainer) -> None:
        if self._is_active:
            self._note(trainer, {n: value for n, value in self._fresh(trainer).items() if n not in self._of_steps})
            self._flush()
            self._old = dict(trainer.callback_metrics)

    def _note(self, trainer: L.Trainer, values: dict[str, Tensor]) -> None:
        if not values or self._path is None:
            return
        values = {name: value.detach().clone() for name, value in values.items()}
        place = {_STEP: trainer.global_step, _EPOCH: trainer.current_epoch}
        if self._rows and all(self._rows[-1][name] == value for name, value in place.items()):
            self._rows[-1] |= values
        else:
            self._rows.append({**place, **values})
        if len(self._rows) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        """Write the waiting rows."""
        if self._path is None or not self._rows:
            return
        rows = [{n: v.item() if isinstance(v, Tensor) else v for n, v in row.items()} for row in self._rows]
        self._rows = []
        if new := [name for name in dict.fromkeys(n for row in rows for n in row) if name not in self._columns]:
            self._columns += new
            rows = [*(_read(self._path) if self._path.exists() else []), *rows]
        if new or not self._path.exists():
            _write_whole(self._path, self._columns, rows)
        else:
            try:
                with self._path.open("a", encoding="utf-8", newline="") as file:
                    file.write(csv_text([row.get(column, "") for column in self._columns] for row in rows))
            except OSError as error:
                raise named_error(error, self._path) from error


def _drop_later_rows(path: Path, step: int) -> list[str]:
    """Drop the rows after a step, which a run that was killed has written and the resumed one makes again.

    Returns:
        The columns of the table.
    """
    rows = _read(path)
    columns = list(dict.fromkeys([_STEP, _EPOCH, *(name for row in rows for name in row)]))
    _write_whole(path, columns, [row for row in rows if int(row[_STEP]) <= step])
    return columns


def _read(path: Path) -> list[dict[str, Any]]:
    """Read the whole rows of a table; the last one may be torn."""
    with naming_table(path), path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row[_STEP].isdigit() and None not in row.values()]


def _write_whole(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    write_csv(path, [columns, *([row.get(column, "") for column in columns] for row in rows)])
