"""A command's work around Lightning's own run: files are checked, errors named, and processes ended."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lightning_vista.files.checkpoints import check_checkpoint, naming_checkpoint
from lightning_vista.files.own_files import DamagedFileError, named_error
from lightning_vista.files.redaction import without_secrets
from lightning_vista.files.run_files import check_config
from lightning_vista.processes.stopping import StopSignal, exit_with_parent

#: Variable with the number of the process that starts the others of a run.
_FIRST_PROCESS = "LIGHTNING_VISTA_FIRST_PROCESS"
#: Entries without which Lightning cannot read a checkpoint.
_ENTRIES = ("state_dict", "pytorch-lightning_version")


def check_named_files(arguments: Sequence[str]) -> None:
    """Check the files that `--config` and `--ckpt_path` name, before Lightning parses them.

    Args:
        arguments: The arguments of a command.

    Raises:
        DamagedFileError: If a file has changed since it was written.
    """
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, separator, given = option.partition("=")
        path = Path(given if separator else value)
        with suppress(OSError):  # a value that is not a path, or a file that Lightning cannot read either
            if name in ("--config", "-c"):
                check_config(path)
            elif name == "--ckpt_path":
                check_checkpoint(path)


def refuse_web_checkpoint(path: str | Path | None) -> None:
    """Refuse a checkpoint on a web server, which Lightning would unpickle and whose address it would print.

    Args:
        path: What `--ckpt_path` or `ckpt_path` of a configuration names.

    Raises:
        ValueError: If it is an address of `http` or `https`.
    """
    if path is not None and str(path).startswith(("http://", "https://")):
        raise ValueError(
            f"`ckpt_path`: expected a file, got the address {without_secrets(str(path))}. A checkpoint of a server "
            "could run any code here. Download it, and give the file."
        )


class NamingCheckpointIO(TorchCheckpointIO):
    """Lightning's usual reading and writing of checkpoints, whose errors name the file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: If it cannot be written, as on a full disk.
        """
        try:
            super().save_checkpoint(checkpoint, path, storage_options)
        except OSError as error:
            raise named_error(error, Path(path)) from error

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Check and read a checkpoint: weights and plain values only, unless `weights_only` is False.

        Raises:
            DamagedFileError: If the file is damaged, or not a checkpoint of Lightning.
        """
        check_checkpoint(Path(path))
        if kwargs.get("weights_only") is None:  # with which Lightning would unpickle anything from an address
            kwargs["weights_only"] = True
        with naming_checkpoint(path):
            checkpoint = super().load_checkpoint(path, *args, **kwargs)
        if not isinstance(checkpoint, dict) or not checkpoint.keys() >= set(_ENTRIES):
            got = ", ".join(map(str, checkpoint))[:80] if isinstance(checkpoint, dict) else type(checkpoint).__name__
            raise DamagedFileError(
                f"The checkpoint {path}: expected one of Lightning, with {' and '.join(_ENTRIES)}, got {got}. Give a "
                "file that `fit` has written."
            )
        return checkpoint


@contextmanager
def stopped_cleanly(trainer: L.Trainer) -> Iterator[None]:
    """Name checkpoints in errors, end the other processes of a failed run, and say how to resume a stopped one.

    Args:
        trainer: The trainer of the run.
    """
    strategy: Any = trainer.strategy
    if type(strategy) in (SingleDeviceStrategy, DDPStrategy) and type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = NamingCheckpointIO()
    if "LOCAL_RANK" in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ:
        first = os.environ.get(_FIRST_PROCESS)  # which started this one, and may have ended by now
        exit_with_parent(parent=None if first is None else int(first))
    else:
        os.environ[_FIRST_PROCESS] = str(os.getpid())
    try:
        yield
    except BaseException as error:
        if isinstance(error, StopSignal):
            error.resume = _how_to_resume(trainer)
        if hasattr(strategy.launcher, "kill"):
            strategy.launcher.kill(signal.SIGKILL)  # they would wait for this process
        raise


def _how_to_resume(trainer: L.Trainer) -> str:
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
    saved = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
    newest = [each.last_model_path or each.best_model_path for each in saved]
    path = next((path for path in newest if path), None)
    return f"Resume with the same command and --ckpt_path {path}" if path else ""
