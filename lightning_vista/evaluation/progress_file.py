"""Progress in videos: values over time, and the file of a run that holds them."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightning_vista.files.documents import parse_json
from lightning_vista.files.own_files import write_whole
from lightning_vista.metrics.reward_tests import value_order_correlation

PROGRESS_NAME = "progress.json"
_VERSION = 1


@dataclass(frozen=True)
class Progress:
    """Values of a video over time.

    Attributes:
        description: Description of the task.
        frames: Number of frames up to each point, ascending; the last is that of the whole video.
        times: Time of the last of these frames, in seconds after the first one of the video.
        values: Score of the description at each point; NaN where it is unscored.
        steps: Description of the first step, of the first two steps, and so on, with its values; empty where not asked
            for.
        video: Path of the video in the dataset; empty outside a run.
        problem_set: Problem set that the description belongs to; empty outside a run.

    Example:
        >>> Progress("We go to the red ball", (1, 5, 9), (0.0, 0.5, 1.0), (0.1, 0.4, 0.9)).value_order
        1.0
    """

    description: str
    frames: tuple[int, ...]
    times: tuple[float, ...]
    values: tuple[float, ...]
    steps: tuple[tuple[str, tuple[float, ...]], ...] = ()
    video: str = ""
    problem_set: str = ""

    @property
    def is_scored(self) -> bool:
        """Say whether every point has a value, also of each step."""
        return not any(math.isnan(value) for values in (self.values, *(of for _, of in self.steps)) for value in values)

    @property
    def value_order(self) -> float:
        """Value-order correlation, see `value_order_correlation`; a `ValueError` if a point is unscored."""
        return value_order_correlation(self.values)

    def per_frame(self) -> list[float]:
        """Return the value at every frame, in straight lines between the points."""
        return self._at_every_frame(self.values)

    def steps_per_frame(self) -> list[float]:
        """Return the mean, over the steps, of the highest value so far at every frame.

        That is the potential of rewards step by step: a step that was done stays done.

        Raises:
            ValueError: If the steps were not scored.
        """
        if not self.steps:
            raise ValueError("`steps`: expected values of the steps, got none. Measure progress with per_step=True.")
        reached = np.maximum.accumulate([values for _, values in self.steps], axis=1)
        return self._at_every_frame(reached.mean(axis=0).tolist())

    def _at_every_frame(self, values: Sequence[float]) -> list[float]:
        every: list[float] = np.interp(np.arange(1, self.frames[-1] + 1), self.frames, values).tolist()
        return every


@dataclass(frozen=True)
class ProgressFile:
    """Content of a run's `progress.json`.

    Attributes:
        model: Name of the scorer.
        curves: Progress in the example videos.
        left_out: Sentences about the videos without a curve.
    """

    model: str
    curves: tuple[Progress, ...]
    left_out: tuple[str, ...] = ()


def write_progress(progress: ProgressFile, folder: str | Path) -> Path:
    """Write `progress.json` into a run folder; it appears whole or not at all.

    Args:
        progress: Curves of a scorer.
        folder: Run folder.

    Returns:
        Path of the file.
    """
    curves = [asdict(replace(curve, values=_finite(curve.values))) for curve in progress.curves]
    for curve in curves:
        curve["steps"] = [[description, _finite(values)] for description, values in curve["steps"]]
    content = {"model": progress.model, "curves": curves, "left_out": list(progress.left_out)}
    path = Path(folder, PROGRESS_NAME)
    document = {"version": _VERSION, "sha256": _checksum(content), **content}
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def read_progress(folder: str | Path) -> ProgressFile | None:
    """Read and check the `progress.json` of a run folder.

    Args:
        folder: Run folder.

    Returns:
        The curves; None if the run has no such file.

    Raises:
        ValueError: If the file is damaged, or of another version; names it and the remedy.
    """
    path = Path(folder, PROGRESS_NAME)
    if not path.is_file():
        return None
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
        version, checksum = document.pop("version"), document.pop("sha256")
        if version != _VERSION or checksum != _checksum(document):
            raise ValueError(f"version {version}, or other content than its checksum says")
        return ProgressFile(
            document["model"], tuple(map(_curve, document["curves"])), tuple(map(str, document["left_out"]))
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected the progress file of a run, version {_VERSION}, got {error!r}. Remove it, and run "
            "`test` with the callback ProgressCurves again."
        ) from error


def _curve(entry: dict[str, Any]) -> Progress:
    steps = tuple((str(description), _values(values)) for description, values in entry.pop("steps"))
    frames, times, values = (entry.pop(name) for name in ("frames", "times", "values"))
    return Progress(frames=tuple(frames), times=tuple(times), values=_values(values), steps=steps, **entry)


def _finite(values: Sequence[float]) -> Any:  # JSON lacks NaN
    return [None if math.isnan(value) else value for value in values]


def _values(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def _checksum(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
