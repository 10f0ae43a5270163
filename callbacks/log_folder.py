"""Where the files of a run belong."""

from pathlib import Path

import lightning as L


def log_folder(trainer: L.Trainer) -> Path:
    """The folder of this run alone, where there is one; `ModelCheckpoint` makes its own folder in it.

    That is the first logger's `log_dir`, or `<save_dir>/<name>/<version>` of loggers such as `WandbLogger`, whose runs
    share a `save_dir`; without a logger it is the trainer's root folder.

    Args:
        trainer: The trainer of the run; to be asked on the first process, since only there loggers know their folder.

    Returns:
        The folder, which may not exist yet.
    """
    if trainer.logger is None:
        return Path(trainer.default_root_dir)
    log_dir = getattr(trainer.logger, "log_dir", None)
    if log_dir is not None:
        return Path(log_dir)
    version = trainer.logger.version
    folder = version if isinstance(version, str) else f"version_{version}"
    return Path(trainer.logger.save_dir or trainer.default_root_dir, str(trainer.logger.name), folder)
