"""Sends what an evaluation found to every logger of the trainer."""

import lightning as L

from lightning_vista.callbacks.as_scorer import as_scorer
from lightning_vista.callbacks.evaluation import read_evaluation
from lightning_vista.callbacks.evaluation_logging import log_evaluation


class ScoreLogging(L.Callback):
    """After `test` with a scorer, gives every logger its results as tables, charts and example videos.

    The scorer logs its figures itself, with any logger. What comes on top depends on the logger (`log_evaluation`):
    `WandbLogger` gets tables, charts and videos, `TensorBoardLogger` tables as text, `CSVLogger` files beside its
    `metrics.csv`, and every other logger the means of all cells. Nothing happens with modules that are no scorers.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[ScoreLogging()])
    """

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the run folder, which is finished by now, and send it."""
        scorer = as_scorer(pl_module)
        if scorer is None or not trainer.loggers or not trainer.is_global_zero:
            return
        evaluation = read_evaluation(scorer.run_path, scorer.rescaling, scorer.strict)
        for logger in trainer.loggers:
            log_evaluation(logger, evaluation, trainer.global_step)
