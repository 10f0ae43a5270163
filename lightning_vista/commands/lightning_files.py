"""A command's work around Lightning's own run: files are checked, errors named, and processes ended."""

import os
import pickle
import re
import signal
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lightning_vista.files.own_files import DamagedFileError, named_error
from lightning_vista.files.redaction import without_secrets
from lightning_vista.files.run_files import check_config
from lightning_vista.processes.stopping import StopSignal, exit_with_parent

#: Variable with the number of the process that starts the others of a run.
_FIRST_PROCESS = "LIGHTNING_VISTA_FIRST_PROCESS"
_ZIP_BEGINNING = b"PK\x03\x04"
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


def check_checkpoint(path: Path) -> None:
    """Check a checkpoint of torch, a zip archive, against the checksums of its parts.

    Folders of sharded checkpoints are left to Lightning.

    Args:
        path: The file, which need not exist.

    Raises:
        DamagedFileError: If the file is damaged, cut short or something else; names it.
    """
    if path.is_dir() or not path.exists():
        return
    remedy = "Give another one, such as an earlier checkpoint of the run."
    if not path.is_file():  # reading a pipe would wait forever
        raise DamagedFileError(f"The checkpoint {path} is not a regular file. {remedy}")
    with path.open("rb") as file:
        beginning = file.read(len(_ZIP_BEGINNING))
    if not beginning:
        raise DamagedFileError(f"The checkpoint {path} is empty. {remedy}")
    if beginning != _ZIP_BEGINNING:  # torch would read anything else as a pickle
        raise DamagedFileError(
            f"The checkpoint {path} is damaged or of another format: expected a zip archive, as torch 1.6 and later "
            f"versions write, got a file that begins with {beginning!r}. {remedy}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise DamagedFileError(f"The checkpoint {path} is damaged or cut short ({error}). {remedy}") from error
    if damaged is not None:
        raise DamagedFileError(f"The checkpoint {path} is damaged: its part {damaged} has changed. {remedy}")


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
def naming_checkpoint(path: Any) -> Iterator[None]:
    """Name a checkpoint in errors of reading it.

    Args:
        path: The file.

    Raises:
        DamagedFileError: If reading fails, other than by the system.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # any, since a pickle decides what is called
        raise DamagedFileError(f"The checkpoint {path} cannot be read: {_reading_fault(error)}") from error


def _reading_fault(error: Exception) -> str:
    """Say in one line why a checkpoint cannot be read, without torch's advice to unpickle it."""
    said = str(error)
    if held := re.search(r"GLOBAL ([\w.]+)", said):
        return (
            f"only weights and plain values are read, got {held[1]}. Give another one; or, if nobody else has written "
            "it, use `trainer.fit(..., weights_only=False)` in Python, which runs what the file says."
        )
    # The first line of an UnpicklingError is advice.
    said = "" if isinstance(error, pickle.UnpicklingError) else said.partition("\n")[0]
    return f"{type(error).__name__}: {said}".removesuffix(": ")


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
