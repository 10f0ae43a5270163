"""A callback that shows the results of a finished evaluation in every logger of the trainer."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
import torch

from lightning_vista.drawing.boards import FiguresBoard, ShownVideo, boards, log_chart, log_films, log_table
from lightning_vista.evaluation import find_evaluation

if TYPE_CHECKING:  # needs the extra `vista`, which is not installed for training alone
    from lightning_vista.reports.run_results import RunResults

#: Number and height of the frames in a film strip.
_FRAMES, _PIXELS = 6, 96


class ScoreLogging(L.Callback):
    """A callback that shows tables, charts and example videos of a scorer's `test` in every logger.

    The `Evaluation` callback logs the main figures with any logger. This one adds the tables and charts of
    `lightning_vista.reports.run_results`, as far as the logger can show them, see `lightning_vista.drawing.boards`:
    wandb gets tables with videos, interactive charts and videos, TensorBoard texts, pictures and film strips, MLflow
    artifacts, `CSVLogger` files beside its `metrics.csv`. Every other logger gets the means of all cells. The run
    folder gets the charts as PNG files. Without an evaluation the callback does nothing.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[ScoreLogging()])
    """

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the finished run folder and show its results."""
        evaluation = find_evaluation(trainer)
        if evaluation is None or evaluation.run is None or not (found := boards(trainer)):
            return
        from lightning_vista.reports.run_results import read_run_results

        results = read_run_results(evaluation.run.path, evaluation.rescaling, evaluation.strict)
        for name, table in results.tables.items():
            log_table(trainer, f"test/{name}", table)
        for name, chart in results.charts.items():
            log_chart(trainer, f"test/{name}", chart)
        log_films(trainer, "test/examples", list(_films(results.examples)))
        for board in found:
            if isinstance(board, FiguresBoard):
                board.logger.log_metrics(_cell_means(results), trainer.global_step)


def _films(examples: Mapping[Path, str]) -> Iterator[ShownVideo]:
    """Yield the example videos, each with a strip of its frames."""
    from lightning_vista.video import FrameSpec, decode_video

    for path, caption in examples.items():
        frames = decode_video(path.read_bytes(), FrameSpec(_FRAMES, size=_PIXELS)).frames
        strip = torch.cat(list(frames), dim=-1)  # (channels, height, frames * width)
        yield ShownVideo(path, caption, strip.permute(1, 2, 0).contiguous())


def _cell_means(results: "RunResults") -> dict[str, float]:
    """Return the scorer's mean macro F1 of every cell, with its standard error, for loggers without tables."""
    table = results.tables["aggregates"]
    return {
        f"test/{name}/{row['environment']}/level_{row['level']}/{row['kind']}": value
        for row in (dict(zip(table.columns, cells, strict=True)) for cells in table.rows)
        for name in ("mean_macro_f1", "standard_error")
        if row["model"] == results.model and isinstance(value := row[name], float)
    }
