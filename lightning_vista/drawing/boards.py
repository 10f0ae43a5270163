"""One way to show tables, charts, pictures and videos of a run in whatever loggers it has.

A board shows them in one logger. Packages of loggers are imported only where a run has that logger.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, singledispatch
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities import rank_zero_info
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor

from lightning_vista.drawing.chart_drawing import draw_chart
from lightning_vista.drawing.charts import Chart
from lightning_vista.drawing.pictures import render_figure
from lightning_vista.files.csv_tables import csv_text
from lightning_vista.files.own_files import write_csv
from lightning_vista.files.run_files import free_path, run_files
from lightning_vista.optional import require

#: Maximum number of rows in TensorBoard, which renders tables anew at every view.
_MARKDOWN_ROWS = 500

CellValue = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """A table whose columns have one type each; None stands for a missing value.

    Attributes:
        columns: Names of the columns.
        rows: Cells of each row.
        media: Video or picture that belongs to each row, or None; boards show it in a further column, `media`.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[CellValue, ...]]
    media: Sequence[Path | None] = ()

    def with_paths(self) -> "Table":
        """Return the table with the names of the media as texts in a column of their own."""
        if not self.media:
            return self
        names = [None if path is None else f"{path.parent.name}/{path.name}" for path in self.media]
        rows = [(*row, name) for row, name in zip(self.rows, names, strict=True)]
        return Table((*self.columns, "media"), rows)


@dataclass(frozen=True)
class ShownVideo:
    """A video.

    Attributes:
        path: The file.
        caption: Text below it.
        strip: Some of its frames side by side, uint8 `(height, width, 3)`, for loggers without videos.
    """

    path: Path
    caption: str
    strip: Tensor


class Board(ABC):
    """Base class of boards.

    For a logger of your own, subclass it and register a function: `@board_of.register(MyLogger)`.

    Args:
        logger: The logger.
    """

    def __init__(self, logger: Any) -> None:  # a logger of the board's own kind
        self.logger = logger

    @abstractmethod
    def table(self, name: str, table: Table, step: int) -> None:
        """Show a table."""

    @abstractmethod
    def picture(self, name: str, path: Path, pixels: Tensor, step: int) -> None:
        """Show a picture, given as a file and as pixels, uint8 `(height, width, 3)`."""

    def chart(self, name: str, chart: Chart, path: Path, pixels: Tensor, step: int) -> None:
        """Show a chart; as a picture by default."""
        self.picture(name, path, pixels, step)

    def films(self, name: str, films: Sequence[ShownVideo], step: int) -> None:
        """Show videos; as film strips by default."""
        for film in films:
            self.picture(f"{name}/{film.path.stem}", film.path, film.strip, step)


class WandbBoard(Board):
    """Tables with media, interactive charts, pictures and videos in Weights & Biases."""

    def table(self, name: str, table: Table, step: int) -> None:
        """Log a whole table, not in wandb's mode INCREMENTAL: a resumed run would append to the rows of the last."""
        self.logger.log_metrics({name: self._table(table)}, step)

    def picture(self, name: str, path: Path, pixels: Tensor, step: int) -> None:
        """Log a picture."""
        self.logger.log_image(name, [str(path)], step=step)

    def chart(self, name: str, chart: Chart, path: Path, pixels: Tensor, step: int) -> None:
        """Log lines or bars that tell their values."""
        plot = require("wandb", "wandb").plot
        points = _chart_table(chart)
        place, series, value = points.columns
        title = chart.title or name
        if chart.lines:
            drawn = plot.line(self._table(points), place, value, series, title, split_table=True)
        else:
            drawn = plot.bar(self._table(points), place, value, title, split_table=True)
        self.logger.log_metrics({name: drawn}, step)

    def films(self, name: str, films: Sequence[ShownVideo], step: int) -> None:
        """Log videos."""
        video = require("wandb", "wandb").Video
        if films:
            self.logger.log_metrics({name: [video(str(film.path), film.caption) for film in films]}, step)

    def _table(self, table: Table) -> Any:  # wandb is optional, so its types are unknown here
        wandb = require("wandb", "wandb")
        columns, rows = [*table.columns], [[*row] for row in table.rows]
        if table.media:
            columns.append("media")
            for row, path in zip(rows, table.media, strict=True):
                # A type of the cell is that of its first value; None fits all of them.
                kind = wandb.Image if path is not None and path.suffix == ".png" else wandb.Video
                row.append(None if path is None else kind(str(path)))
        return wandb.Table(columns=columns, data=rows)


class TensorBoardBoard(Board):
    """Tables as text, charts and film strips as pictures in TensorBoard."""

    def table(self, name: str, table: Table, step: int) -> None:
        """Log a table as Markdown."""
        self.logger.experiment.add_text(name, "\n".join(_markdown(table.with_paths())), step)

    def picture(self, name: str, path: Path, pixels: Tensor, step: int) -> None:
        """Log pixels."""
        self.logger.experiment.add_image(name, pixels, step, dataformats="HWC")


class MLFlowBoard(Board):
    """Tables, pictures and videos as artifacts in MLflow."""

    def table(self, name: str, table: Table, step: int) -> None:
        """Log a CSV file, which MLflow shows as a table."""
        shown = table.with_paths()
        self.logger.experiment.log_text(self.logger.run_id, csv_text([shown.columns, *shown.rows]), f"{name}.csv")

    def picture(self, name: str, path: Path, pixels: Tensor, step: int) -> None:
        """Log the file of a picture."""
        self._file(path, str(Path(name).parent))

    def films(self, name: str, films: Sequence[ShownVideo], step: int) -> None:
        """Log the files of videos."""
        for film in films:
            self._file(film.path, name)

    def _file(self, path: Path, folder: str) -> None:
        self.logger.experiment.log_artifact(self.logger.run_id, str(path), "" if folder == "." else folder)


class CSVBoard(Board):
    """Tables beside `metrics.csv`; pictures and videos are in the run's folder, whatever its loggers are."""

    def table(self, name: str, table: Table, step: int) -> None:
        """Write a table that replaces none of an earlier run."""
        path = Path(self.logger.log_dir, f"{name.rpartition('/')[2]}.csv")
        shown = table.with_paths()
        write_csv(free_path(path), [shown.columns, *shown.rows])

    def picture(self, name: str, path: Path, pixels: Tensor, step: int) -> None:
        """Do nothing: the file is there."""


class FiguresBoard(Board):
    """Nothing but figures, which come from `log_metrics`; says once where everything else is."""

    def table(self, name: str, table: Table, step: int) -> None:
        """Say where tables are."""
        _say_once(
            f"{type(self.logger).__name__} takes figures only. Tables, pictures and videos are in the run's folder; "
            "`lightning-vista report` shows those of an evaluation."
        )

    def picture(self, name: str, path: Path, pixels: Tensor, step: int) -> None:
        """Do nothing: the file is in the run's folder."""


@singledispatch
def board_of(logger: Logger) -> Board | None:
    """Return the board of a logger; None for one that shows nothing.

    Register a function for a logger of your own: `@board_of.register(MyLogger)`.

    Args:
        logger: Logger; its class selects the registered function.
    """
    return FiguresBoard(logger)


@board_of.register(DummyLogger)
def _no_board(logger: DummyLogger) -> None:
    """Show nothing: this logger stands in for the others in a `fast_dev_run`, whose results are meaningless."""


board_of.register(CSVLogger)(CSVBoard)
board_of.register(MLFlowLogger)(MLFlowBoard)
board_of.register(TensorBoardLogger)(TensorBoardBoard)
board_of.register(WandbLogger)(WandbBoard)


def boards(trainer: L.Trainer) -> list[Board]:
    """Return the boards of a run's loggers, in the first process; none in others.

    Args:
        trainer: The trainer of the run.
    """
    found = [board_of(logger) for logger in trainer.loggers] if trainer.is_global_zero else []
    return [board for board in found if board is not None]


def log_table(trainer: L.Trainer, name: str, table: Table) -> None:
    """Show a table in all loggers.

    Args:
        trainer: The trainer of the run.
        name: The name of the table; a `/` in it makes a section.
        table: The table.
    """
    for board in boards(trainer):
        board.table(name, table, trainer.global_step)


def log_picture(trainer: L.Trainer, name: str, picture: Tensor) -> None:
    """Write `<name>.png` into the run's folder, and show it in all loggers.

    Args:
        trainer: The trainer of the run.
        name: The name of the picture; a `/` in it makes a folder.
        picture: uint8 `(height, width, 3)`.

    Raises:
        ModuleNotFoundError: If Pillow is missing; the message names the extra.
    """
    if trainer.is_global_zero:
        path = _write_picture(trainer, name, picture)
        for board in boards(trainer):
            board.picture(name, path, picture, trainer.global_step)


def log_chart(trainer: L.Trainer, name: str, chart: Chart) -> None:
    """Write `<name>.png` into the run's folder, and show the chart in all loggers.

    Args:
        trainer: The trainer of the run.
        name: The name of the chart; a `/` in it makes a folder.
        chart: The chart.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.
    """
    if trainer.is_global_zero:
        picture = render_figure(draw_chart(chart), tight=True)
        path = _write_picture(trainer, name, picture)
        for board in boards(trainer):
            board.chart(name, chart, path, picture, trainer.global_step)


def log_films(trainer: L.Trainer, name: str, films: Sequence[ShownVideo]) -> None:
    """Show videos in all loggers.

    Args:
        trainer: The trainer of the run.
        name: The name of their section.
        films: The videos.
    """
    for board in boards(trainer):
        board.films(name, films, trainer.global_step)


def _write_picture(trainer: L.Trainer, name: str, picture: Tensor) -> Path:
    path = run_files(trainer) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    require("PIL.Image", "plots").fromarray(picture.numpy()).save(path)
    return path


def _chart_table(chart: Chart) -> Table:
    """Return the means of a chart as a table: place, series, value."""
    columns = (chart.x_title.lower() or "place", "series", chart.y_title.lower() or "value")
    rows = [(point.x, name, point.mean) for name, points in chart.series.items() for point in points]
    return Table(columns, rows)


def _markdown(table: Table) -> Iterator[str]:
    yield _markdown_row(table.columns)
    yield "|---" * len(table.columns) + "|"
    yield from map(_markdown_row, table.rows[:_MARKDOWN_ROWS])
    if len(table.rows) > _MARKDOWN_ROWS:
        yield f"\n{len(table.rows) - _MARKDOWN_ROWS} more rows are omitted here; the run folder holds all scores."


def _markdown_row(cells: Sequence[CellValue]) -> str:
    texts = (f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells)
    return f"| {' | '.join(' '.join(text.replace('|', '&#124;').split()) for text in texts)} |"


@cache
def _say_once(text: str) -> None:
    rank_zero_info(text)
