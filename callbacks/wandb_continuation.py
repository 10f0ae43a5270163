"""Keeps the wandb run of a run of ours, so that resuming it continues the same one."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger

from lightning_vista.evaluation import Scorer, find_evaluation
from lightning_vista.files.own_files import from_sealed_json, write_sealed_json
from lightning_vista.files.redaction import hold_secrets
from lightning_vista.optional import require

#: Entry of checkpoints, and file in the run folder of an evaluation.
_KEY, _FILE = "wandb_run_id", "wandb_run.json"
_VERSION = 1
#: File of an earlier release, which lacks a checksum and is read without.
_EARLIER_FILE = "wandb_run.txt"
#: Setting that keeps wandb from storing how the program was called.
_NO_METADATA = "x_disable_meta"


class WandbContinuation(L.Callback):
    """A callback that keeps the id of the wandb run in checkpoints and in the run folder of an evaluation.

    `lightning-vista` adds it by itself. Its commands then continue that run: `fit --ckpt_path PATH` the one of the
    checkpoint, and `test` the one of an interrupted or finished evaluation. In Python, call `continue_wandb_run` before
    `trainer.fit`. With `id` or `version` of `WandbLogger` you choose a run yourself.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[WandbContinuation()])
    """

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the id."""
        # An entry of its own: Lightning warns about a callback's state wherever that callback is missing.
        if (logger := _find_logger(trainer)) is not None:
            checkpoint[_KEY] = logger.version

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the id into the run folder, in one process."""
        evaluation, logger = find_evaluation(trainer), _find_logger(trainer)
        if evaluation is not None and evaluation.run is not None and logger is not None and trainer.is_global_zero:
            write_sealed_json(evaluation.run.path / _FILE, {_KEY: logger.version}, _VERSION)


def continue_wandb_run(
    trainer: L.Trainer, module: L.LightningModule, ckpt_path: str | Path | None = None
) -> str | None:
    """Let the trainer's `WandbLogger` continue the wandb run of a checkpoint, or of the evaluation's run folder.

    Call it before `fit` or `test`. Nothing happens without such a logger, with an id that was chosen for it, or where
    no id is kept.

    Args:
        trainer: The trainer, whose run has not begun.
        module: The module that will be trained or tested.
        ckpt_path: The checkpoint from which training resumes; None for an evaluation.

    Returns:
        The id of the run that is continued, or None.

    Raises:
        DamagedFileError: If the file with the id in the run folder is damaged.
    """
    logger = _find_logger(trainer)
    if logger is None or logger._id is not None:
        return None
    id = _kept_in_checkpoint(ckpt_path) if ckpt_path is not None else _kept_in_folder(trainer, module)
    if id is not None:
        # The arguments of `wandb.init`, which the logger calls at its first use; it has no public way to change them.
        logger._wandb_init["id"] = logger._id = id
        logger._wandb_init.setdefault("resume", "allow")
    return id


@contextmanager
def own_wandb_run(trainer: L.Trainer) -> Iterator[None]:
    """End the wandb run that a command starts: the next command of this process would else continue it.

    Args:
        trainer: The trainer of the command.
    """
    if _find_logger(trainer) is None:
        yield
        return
    wandb = require("wandb", "wandb")
    before = wandb.run  # of a program that calls `main`; the logger starts its own run later
    exit_code = 1
    if hold_secrets(sys.argv):
        for logger in trainer.loggers:
            _keep_no_command_line(logger)
    try:
        yield
        exit_code = 0
    finally:
        if wandb.run is not None and wandb.run is not before:
            wandb.run.finish(exit_code)


def _keep_no_command_line(logger: Any) -> None:
    """Tell a logger of wandb not to store how the program was called.

    The variable for this would be read once in a process, by the first run of wandb in it.
    """
    if isinstance(logger, WandbLogger):
        settings = logger._wandb_init.get("settings") or {}
        if isinstance(settings, dict):
            logger._wandb_init["settings"] = settings | {_NO_METADATA: True}
        else:
            setattr(settings, _NO_METADATA, True)


def _find_logger(trainer: L.Trainer) -> WandbLogger | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)


def _kept_in_checkpoint(path: str | Path) -> str | None:
    """Return the id in a checkpoint; None for words such as "last", and for files elsewhere."""
    if not Path(path).is_file():
        return None
    try:
        # Mapped rather than read: only this entry is wanted.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # any, since a pickle decides what is called; Lightning's reading of the file names it
        warnings.warn(
            f"The wandb run of {path} is not continued: its id cannot be read without unpickling "
            f"({type(error).__name__}). Set `id` of WandbLogger.",
            stacklevel=2,
        )
        return None
    return content.get(_KEY) if isinstance(content, dict) else None


def _kept_in_folder(trainer: L.Trainer, module: L.LightningModule) -> str | None:
    evaluation = find_evaluation(trainer)
    if evaluation is None or not isinstance(module, Scorer):  # which alone have run folders
        return None
    folder = evaluation.run_path(trainer, module)
    path, earlier = folder / _FILE, folder / _EARLIER_FILE
    if path.is_file():
        remedy = "Remove it, and the command begins another wandb run; or set `id` of WandbLogger."
        id: str = from_sealed_json(path.read_bytes(), path, version=_VERSION, remedy=remedy)[_KEY]
        return id
    return earlier.read_text(encoding="utf-8", errors="replace").strip() if earlier.is_file() else None
