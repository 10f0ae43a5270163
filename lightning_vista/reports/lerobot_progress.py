"""Progress in videos as LeRobot's `*_progress.parquet`, with which it weighs the frames of demonstrations."""

import io
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from lightning_vista.evaluation.progress_file import PROGRESS_NAME, Progress, read_progress
from lightning_vista.files.own_files import write_whole
from lightning_vista.reports.coverage import listed


def export_lerobot(run: str | Path, out: str | Path) -> pl.DataFrame:
    """Write the progress curves of a run as LeRobot's table; episodes are the run's curves, in their order.

    A warning names the example videos without a curve, which are not among the episodes.

    Args:
        run: Run folder with a `progress.json`, see the callback `ProgressCurves`.
        out: Parquet file to write.

    Returns:
        The table, see `write_lerobot_progress`.

    Raises:
        FileNotFoundError: If the run has no progress curves.
        ValueError: If there are no curves, or one is not scored at every point: without it, the later episodes would
            have other numbers. The message names them.
    """
    progress = read_progress(run)
    if progress is None:
        raise FileNotFoundError(
            f"No {PROGRESS_NAME} in {run}. Run `test` with the callback lightning_vista.callbacks.ProgressCurves."
        )
    if unscored := [f"{each.video} in {each.problem_set}" for each in progress.curves if not each.is_scored]:
        raise ValueError(
            f"{Path(run, PROGRESS_NAME)}: expected values at every point, got NaN in "
            f"{listed(unscored, 10, '; ')}. Run `test` with the callback ProgressCurves again, or give "
            "`write_lerobot_progress` the curves to keep, with new numbers of episodes."
        )
    frame = write_lerobot_progress(progress.curves, out, progress.model)
    if progress.left_out:
        warnings.warn(
            f"{Path(run, PROGRESS_NAME)}: {len(progress.left_out)} example videos without a curve are not among the "
            f"episodes: {listed(progress.left_out, 10, '; ')}.",
            stacklevel=2,
        )
    return frame


def write_lerobot_progress(episodes: Sequence[Progress], out: str | Path, model: str) -> pl.DataFrame:
    """Write the progress in the episodes of a dataset, one row for each frame.

    The columns are LeRobot's: `index` of the frame in the dataset, `episode_index`, `frame_index` in the episode (all
    int64), and `progress_sparse` (float32), brought to [0, 1] in each episode, in straight lines between the measured
    points. With per-step values in all episodes there is also `progress_dense`: the mean, over the steps, of the
    highest value so far. An episode without any change is 1 throughout, as in LeRobot's own TOPReward table.

    Args:
        episodes: Progress in each episode, in the order of the dataset, all scored at every point.
        out: Parquet file; it appears whole or not at all. Its metadata name the scorer and each episode's task.
        model: Name of the scorer.

    Returns:
        The table.

    Raises:
        ValueError: If `episodes` is empty, or one has an unscored point.
    """
    if not episodes:
        raise ValueError("`episodes`: expected at least one curve that is scored at every point, got none.")
    if unscored := [number for number, episode in enumerate(episodes) if not episode.is_scored]:
        raise ValueError(f"`episodes`: expected values at every point, got NaN in episodes {unscored}. Leave them out.")
    columns: dict[str, list[float]] = {"progress_sparse": [v for each in episodes for v in _unit(each.per_frame())]}
    if all(episode.steps for episode in episodes):
        columns["progress_dense"] = [v for each in episodes for v in _unit(each.steps_per_frame())]
    lengths = [episode.frames[-1] for episode in episodes]
    places = {
        "index": range(sum(lengths)),
        "episode_index": [number for number, length in enumerate(lengths) for _ in range(length)],
        "frame_index": [frame for length in lengths for frame in range(length)],
    }
    types = dict.fromkeys(places, pl.Int64) | dict.fromkeys(columns, pl.Float32)
    frame = pl.DataFrame({name: list(values) for name, values in (places | columns).items()}, schema=types)
    _write_whole(frame, Path(out), model, episodes)
    return frame


def _unit(values: Sequence[float]) -> list[float]:
    """Bring values to [0, 1]."""
    low, high = min(values), max(values)
    return [1.0] * len(values) if math.isclose(low, high) else [(value - low) / (high - low) for value in values]


def _write_whole(frame: pl.DataFrame, path: Path, model: str, episodes: Sequence[Progress]) -> None:
    known = [{"video": each.video, "problem_set": each.problem_set, "task": each.description} for each in episodes]
    metadata = {"reward_model_path": model, "episodes": json.dumps(known, ensure_ascii=False)}
    content = io.BytesIO()
    frame.write_parquet(content, metadata=metadata)
    write_whole(path, content.getvalue())
