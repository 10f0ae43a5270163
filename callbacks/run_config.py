"""Keeps the configuration of every run of LightningCLI beside its results."""

import lightning as L
import yaml
from lightning.pytorch.cli import SaveConfigCallback

from lightning_vista.files.own_files import write_whole
from lightning_vista.files.redaction import settings_without_secrets
from lightning_vista.files.run_files import free_path, owned_run_files, run_files, sealed_config


class RunConfigCallback(SaveConfigCallback):
    """Writes `config.yaml` into the folder of the run: a scorer's run folder, else that of the run's checkpoints.

    See `lightning_vista.files.run_files`. A file of an earlier run is never replaced: a resumed evaluation keeps its
    first configuration, and where other runs share a folder the next one writes `config-2.yaml`. The last line holds
    the file's checksum, which `--config` checks. Passwords and keys in addresses, and settings such as `api_key`, are
    written as `***`.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the file, in one process."""
        if self.already_saved or not trainer.is_global_zero:
            return
        self.already_saved = True
        path = run_files(trainer) / self.config_filename
        if owned_run_files(trainer) is not None and path.exists() and path.stat().st_size:
            return
        if owned_run_files(trainer) is None:  # else the file is absent, or empty: a kill of an earlier release left it
            path = free_path(path)
        text = self.parser.dump(self.config, skip_none=False)
        settings = yaml.safe_load(text)
        shown = settings_without_secrets(settings)
        if shown != settings:
            text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
        write_whole(path, sealed_config(text))
