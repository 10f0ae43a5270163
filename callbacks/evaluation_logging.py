"""How each kind of logger takes an evaluation."""

import csv
from collections.abc import Iterator
from functools import cache, singledispatch
from pathlib import Path
from typing import Any

from lightning.fabric.utilities import rank_zero_info
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger

from lightning_vista.callbacks.evaluation import Cell, Evaluation, Table
from lightning_vista.callbacks.free_path import free_path
from lightning_vista.optional import require

#: TensorBoard shows text, and renders it again at every look: a long table is cut there.
_MARKDOWN_ROWS = 500


@singledispatch
def log_evaluation(logger: Logger, evaluation: Evaluation, step: int) -> None:
    """Send an evaluation to a logger; one without tables gets the judge's mean macro F1 in every cell, with its error.

    For a logger of your own, register a function: `@log_evaluation.register`, with the logger's class as the type of
    its first argument.

    Args:
        logger: The logger; its class decides.
        evaluation: What there is to log.
        step: The trainer's step.
    """
    table = evaluation.tables["aggregates"]
    figures = {
        f"test/{name}/{row['environment']}/level_{row['level']}/{row['kind']}": value
        for row in (dict(zip(table.columns, cells, strict=True)) for cells in table.rows)
        for name in ("mean_macro_f1", "standard_error")
        if row["model"] == evaluation.model and isinstance(value := row[name], float)
    }
    logger.log_metrics(figures, step)
    _say_once(
        f"{type(logger).__name__} takes figures only: tables and videos of the evaluation are in the run folder, "
        "and `lightning-vista report` shows them."
    )


@log_evaluation.register
def _to_nowhere(logger: DummyLogger, evaluation: Evaluation, step: int) -> None:
    """What stands for the logger in a `fast_dev_run`, whose results are not worth keeping."""


@log_evaluation.register
def _to_csv(logger: CSVLogger, evaluation: Evaluation, step: int) -> None:
    """Tables beside `metrics.csv`."""
    folder = Path(logger.log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in evaluation.tables.items():
        with free_path(folder / f"{name}.csv").open("x", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([table.columns, *table.rows])


@log_evaluation.register
def _to_tensorboard(logger: TensorBoardLogger, evaluation: Evaluation, step: int) -> None:
    """Tables as text."""
    for name, table in evaluation.tables.items():
        logger.experiment.add_text(f"test/{name}", "\n".join(_markdown(table)), step)


@log_evaluation.register
def _to_wandb(logger: WandbLogger, evaluation: Evaluation, step: int) -> None:
    """Tables, charts and videos."""
    wandb = require("wandb", "wandb")
    # Logged whole and once, so not in wandb's mode INCREMENTAL: a resumed run would add to the rows of the test before.
    media: dict[str, Any] = {f"test/{name}": _wandb_table(table) for name, table in evaluation.tables.items()}
    for environment, table in evaluation.f1_by_level.items():
        media[f"test/f1_by_level/{environment}"] = wandb.plot.line(
            _wandb_table(table), "level", "mean_macro_f1", "kind", f"Macro F1 by level: {environment}", split_table=True
        )
    for environment, table in evaluation.level_one.items():
        media[f"test/f1_at_level_1/{environment}"] = wandb.plot.bar(
            _wandb_table(table), "kind", "mean_macro_f1", f"Macro F1 at level 1: {environment}", split_table=True
        )
    if evaluation.examples:
        media["test/examples"] = [wandb.Video(str(path), caption) for path, caption in evaluation.examples.items()]
    logger.log_metrics(media, step)


def _wandb_table(table: Table) -> Any:  # wandb is optional, so its types are unknown here
    return require("wandb", "wandb").Table(columns=list(table.columns), data=[list(row) for row in table.rows])


def _markdown(table: Table) -> Iterator[str]:
    yield _markdown_row(table.columns)
    yield "|---" * len(table.columns) + "|"
    yield from map(_markdown_row, table.rows[:_MARKDOWN_ROWS])
    if len(table.rows) > _MARKDOWN_ROWS:
        yield f"\n{len(table.rows) - _MARKDOWN_ROWS} more rows are left out here; the run folder holds all scores."


def _markdown_row(cells: tuple[Cell, ...]) -> str:
    texts = (f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells)
    return f"| {' | '.join(' '.join(text.replace('|', '&#124;').split()) for text in texts)} |"


@cache
def _say_once(text: str) -> None:
    rank_zero_info(text)
