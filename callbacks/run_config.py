"""Keeps the configuration of every run of LightningCLI beside its results."""

from pathlib import Path

import lightning as L
from lightning.pytorch.cli import SaveConfigCallback

from lightning_vista.callbacks.as_scorer import as_scorer
from lightning_vista.callbacks.free_path import free_path


class RunConfigCallback(SaveConfigCallback):
    """Writes `config.yaml` into the run folder of a scorer's `test`, else into the folder of the run's checkpoints.

    That is the logger's `log_dir`, or `<save_dir>/<project>/<run id>` of loggers such as `WandbLogger`, whose runs
    share a `save_dir`; without a logger it is the trainer's root folder. A file of an earlier run is never replaced: a
    run that goes on in its folder keeps the first configuration, and where runs share a folder after all the next one
    writes `config-2.yaml`.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the file, on one process."""
        if self.already_saved or not trainer.is_global_zero:
            return
        self.already_saved = True
        scorer = as_scorer(pl_module)
        if scorer is not None and stage == "test":
            path = scorer.run_path / self.config_filename
            if path.exists():
                return
        else:
            path = free_path(_log_folder(trainer) / self.config_filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.parser.save(self.config, str(path), skip_none=False, multifile=False)


def _log_folder(trainer: L.Trainer) -> Path:
    """The folder of this run alone, where there is one; `ModelCheckpoint` makes its own folder in it."""
    if trainer.logger is None:
        return Path(trainer.default_root_dir)
    log_dir = getattr(trainer.logger, "log_dir", None)
    if log_dir is not None:
        return Path(log_dir)
    version = trainer.logger.version
    folder = version if isinstance(version, str) else f"version_{version}"
    return Path(trainer.logger.save_dir or trainer.default_root_dir, str(trainer.logger.name), folder)
