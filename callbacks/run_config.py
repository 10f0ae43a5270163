"""Keeps the configuration of every run of LightningCLI beside its results."""

import lightning as L
from lightning.pytorch.cli import SaveConfigCallback

from lightning_vista.callbacks.as_scorer import as_scorer
from lightning_vista.callbacks.free_path import free_path
from lightning_vista.callbacks.log_folder import log_folder


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
            path = free_path(log_folder(trainer) / self.config_filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.parser.save(self.config, str(path), skip_none=False, multifile=False)
