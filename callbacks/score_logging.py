"""A callback that sends the results of a finished evaluation to every logger of the trainer."""

from collections.abc import Iterator
from functools import cache, singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.fabric.utilities import rank_zero_info
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger

from lightning_vista.evaluation import find_evaluation
from lightning_vista.optional import require
from lightning_vista.own_files import write_csv
from lightning_vista.run_files import free_path

if TYPE_CHECKING:  # needs the extra `vista`, which is not installed for training alone
    from lightning_vista.reports.run_results import CellValue, RunResults, Table

#: Maximum number of rows in TensorBoard, which renders tables anew at every view.
_MARKDOWN_ROWS = 500


@singledispatch
def log_evaluation(logger: Logger, results: "RunResults", step: int) -> None:
    """Send the results of an evaluation to a logger.

    A logger without tables gets the scorer's mean macro F1 of every cell, with its standard error. Register a function
    for a logger of your own: `@log_evaluation.register(MyLogger)`.

    Args:
        logger: Logger; its class selects the registered function.
        results: Results of the run.
        step: Step of the trainer.
    """
    table = results.tables["aggregates"]
    figures = {
        f"test/{name}/{row['environment']}/level_{row['level']}/{row['kind']}": value
        for row in (dict(zip(table.columns, cells, strict=True)) for cells in table.rows)
        for name in ("mean_macro_f1", "standard_error")
        if row["model"] == results.model and isinstance(value := row[name], float)
    }
    logger.log_metrics(figures, step)
    _say_once(
        f"{type(logger).__name__} takes figures only. Tables and videos of the evaluation are in the run folder; "
        "`lightning-vista report` shows them."
    )


@log_evaluation.register(DummyLogger)
def _to_nowhere(logger: DummyLogger, results: "RunResults", step: int) -> None:
    """Log nothing: this logger stands in for the others in a `fast_dev_run`, whose results are meaningless."""


@log_evaluation.register(CSVLogger)
def _to_csv(logger: CSVLogger, results: "RunResults", step: int) -> None:
    """Write tables beside `metrics.csv`."""
    for name, table in results.tables.items():
        write_csv(free_path(Path(logger.log_dir) / f"{name}.csv"), [table.columns, *table.rows])


@log_evaluation.register(TensorBoardLogger)
def _to_tensorboard(logger: TensorBoardLogger, results: "RunResults", step: int) -> None:
    """Log tables as text."""
    for name, table in results.tables.items():
        logger.experiment.add_text(f"test/{name}", "\n".join(_markdown(table)), step)


@log_evaluation.register(WandbLogger)
def _to_wandb(logger: WandbLogger, results: "RunResults", step: int) -> None:
    """Log tables, charts and videos."""
    wandb = require("wandb", "wandb")
    # Whole tables, not wandb's mode INCREMENTAL: a resumed run would append to the rows of the previous test.
    media: dict[str, Any] = {f"test/{name}": _wandb_table(table) for name, table in results.tables.items()}
    for environment, table in results.f1_by_level.items():
        media[f"test/f1_by_level/{environment}"] = wandb.plot.line(
            _wandb_table(table), "level", "mean_macro_f1", "kind", f"Macro F1 by level: {environment}", split_table=True
        )
    for environment, table in results.level_one.items():
        media[f"test/f1_at_level_1/{environment}"] = wandb.plot.bar(
            _wandb_table(table), "kind", "mean_macro_f1", f"Macro F1 at level 1: {environment}", split_table=True
        )
    if results.examples:
        media["test/examples"] = [wandb.Video(str(path), caption) for path, caption in results.examples.items()]
    logger.log_metrics(media, step)


def _wandb_table(table: "Table") -> Any:  # wandb is optional, so its types are unknown here
    return require("wandb", "wandb").Table(columns=list(table.columns), data=[list(row) for row in table.rows])


def _markdown(table: "Table") -> Iterator[str]:
    yield _markdown_row(table.columns)
    yield "|---" * len(table.columns) + "|"
    yield from map(_markdown_row, table.rows[:_MARKDOWN_ROWS])
    if len(table.rows) > _MARKDOWN_ROWS:
        yield f"\n{len(table.rows) - _MARKDOWN_ROWS} more rows are omitted here; the run folder holds all scores."


def _markdown_row(cells: "tuple[CellValue, ...]") -> str:
    texts = (f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells)
    return f"| {' | '.join(' '.join(text.replace('|', '&#124;').split()) for text in texts)} |"


@cache
def _say_once(text: str) -> None:
    rank_zero_info(text)


class ScoreLogging(L.Callback):
    """A callback that sends tables, charts and example videos of a scorer's `test` to every logger.

    The `Evaluation` callback logs the main figures with any logger. The additions depend on the logger
    (`log_evaluation`): `WandbLogger` gets tables, charts and videos, `TensorBoardLogger` tables as text, `CSVLogger`
    files beside its `metrics.csv`, and every other logger the means of all cells. Without an evaluation the callback
    does nothing.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[ScoreLogging()])
    """

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the finished run folder and send its results."""
        evaluation = find_evaluation(trainer)
        if evaluation is None or evaluation.run is None or not trainer.loggers or not trainer.is_global_zero:
            return
        from lightning_vista.reports.run_results import read_run_results

        results = read_run_results(evaluation.run.path, evaluation.rescaling, evaluation.strict)
        for logger in trainer.loggers:
            log_evaluation(logger, results, trainer.global_step)
