"""Where the files of a run go."""

from itertools import count
from pathlib import Path
from typing import Protocol, runtime_checkable

import lightning as L

from lightning_vista.files.own_files import EMPTY_SEAL, DamagedFileError, is_sealed, seal


@runtime_checkable
class OwnsRunFiles(Protocol):
    """A callback that gives some runs a folder of their own, such as `Evaluation`."""

    def run_files(self, trainer: L.Trainer) -> Path | None:
        """Return the folder, or None for runs that it leaves alone."""


def owned_run_files(trainer: L.Trainer) -> Path | None:
    """Return the folder that a callback gives this run, or None.

    Args:
        trainer: The trainer of the run, after the callbacks' `setup`.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
    folders = (callback.run_files(trainer) for callback in callbacks if isinstance(callback, OwnsRunFiles))
    return next((folder for folder in folders if folder is not None), None)


def run_files(trainer: L.Trainer) -> Path:
    """Return the folder for the files of a run: its configuration, tables, pictures, tokenizer, exported models.

    That is the run folder of an `Evaluation`; else the first logger's `log_dir`, or `<save_dir>/<name>/<version>` of
    loggers such as `WandbLogger`, whose runs share a `save_dir`; without a logger it is the trainer's root folder.
    `ModelCheckpoint` puts its own folder there too.

    Args:
        trainer: The trainer of the run. Call this in the first process: only there loggers know their folder.

    Returns:
        The folder, which may not exist yet.
    """
    owned = owned_run_files(trainer)
    if owned is not None:
        return owned
    if trainer.logger is None:
        return Path(trainer.default_root_dir)
    log_dir = getattr(trainer.logger, "log_dir", None)
    if log_dir is not None:
        return Path(log_dir)
    version = trainer.logger.version
    folder = version if isinstance(version, str) else f"version_{version}"
    return Path(trainer.logger.save_dir or trainer.default_root_dir, str(trainer.logger.name), folder)


def free_path(path: Path) -> Path:
    """Return the path, or the first of `<stem>-2`, `<stem>-3`, ... that does not exist.

    Args:
        path: The file to write, which must not replace that of an earlier run.
    """
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return path if not path.exists() else next(candidate for candidate in numbered if not candidate.exists())


#: First line of a run's configuration; the last one holds the checksum, so that no cut hides both.
_CONFIG_HEAD = "# lightning-vista run config 1, with a checksum in its last line. If you edit it, remove both lines."


def sealed_config(text: str) -> bytes:
    """Return the content of a run's configuration with a checksum in its last line, a comment.

    Args:
        text: The configuration, as YAML.
    """
    return seal(f"{_CONFIG_HEAD}\n{text.rstrip()}\n# {EMPTY_SEAL}\n".encode())


def check_config(path: Path) -> None:
    """Check the configuration of a run against the checksum in its last line; files without one are accepted.

    Args:
        path: The file, which need not exist.

    Raises:
        DamagedFileError: If the file has changed since it was written.
    """
    if not path.is_file():
        return
    content, remedy = path.read_bytes(), "Restore it; or, if you have edited it, remove its first and its last line."
    # Of a file that is cut or mixed up, a part of the first line remains; or nothing at all.
    is_ours = _CONFIG_HEAD[:30].encode() in content or _CONFIG_HEAD.encode().startswith(content.strip())
    if not is_sealed(content, path, remedy) and is_ours:
        raise DamagedFileError(f"{path} is damaged: it has no checksum in its last line. {remedy}")
