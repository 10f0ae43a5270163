"""Keeps the configuration of every run of LightningCLI beside its results."""

from itertools import count
from pathlib import Path

import lightning as L
from lightning.pytorch.cli import SaveConfigCallback


class RunConfigCallback(SaveConfigCallback):
    """Writes `config.yaml` into the run folder of a scorer's `test`, else into the trainer's log folder.

    A file of an earlier run is never replaced: a run that goes on in its folder keeps the first configuration, and
    where several runs share a log folder (as with `WandbLogger`) the next one writes `config-2.yaml`.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the file, on one process."""
        log_dir = trainer.log_dir  # asked on every process: it is broadcast
        if self.already_saved or not trainer.is_global_zero:
            return
        self.already_saved = True
        run_path = getattr(pl_module, "run_path", None)  # a VLMScorer has one; importing that class costs a second
        if run_path is not None:
            path = Path(run_path) / self.config_filename
            if stage != "test" or path.exists():
                return
        else:
            path = _free_path(Path(log_dir or trainer.default_root_dir) / self.config_filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.parser.save(self.config, str(path), skip_none=False, multifile=False)


def _free_path(path: Path) -> Path:
    """The path, or the first of `<stem>-2`, `<stem>-3`, ... that does not exist."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return path if not path.exists() else next(candidate for candidate in numbered if not candidate.exists())
