"""A callback that measures progress in the example videos of an evaluation."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L

from lightning_vista.evaluation import find_evaluation

if TYPE_CHECKING:  # needs the extra `vista`, which is not installed for training alone
    from lightning_vista.evaluation.progress_file import Progress

#: As in `score_prefixes`: fewer points have no meaningful order.
_FEWEST_POINTS = 3


class ProgressCurves(L.Callback):
    """A callback that scores ever longer prefixes of a `test`'s example videos, and writes `progress.json`.

    Each video is scored with its first true description in each of its problem sets. The report page draws the curves
    beside the videos, and `lightning-vista export lerobot` turns them into a table. The prefixes are those of the files
    in `examples/`, which may have fewer and smaller frames than the dataset's. Videos that give no curve, such as those
    with fewer frames than points, are listed in the file with the reason. Without an evaluation with a run folder the
    callback does nothing.

    Args:
        points: Number of prefixes of each video, at least 3; so many times a video is scored.
        per_step: Whether to score also the first step, the first two steps, and so on.

    Raises:
        ValueError: If there are fewer than 3 points.

    Example:
        >>> ProgressCurves(points=4).points
        4
    """

    def __init__(self, points: int = 8, per_step: bool = False) -> None:
        if points < _FEWEST_POINTS:
            raise ValueError(f"`points`: expected at least {_FEWEST_POINTS}, got {points}.")
        self.points, self.per_step = points, per_step

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure progress and write the file, in one process."""
        evaluation = find_evaluation(trainer)
        if evaluation is None or evaluation.run is None or not trainer.is_global_zero:
            return
        from lightning_vista.evaluation.progress_file import ProgressFile, write_progress

        curves: list[Progress] = []
        left_out: list[str] = []
        for example, description in _true_descriptions(evaluation.run.path):
            try:
                curves.append(self._measure(pl_module, evaluation.run.path, example, description))
            except ValueError as error:  # such as a video with fewer frames than points
                left_out.append(f"{example['video']} in {example['problem_set']}: {error}")
        write_progress(ProgressFile(evaluation.run.model, tuple(curves), tuple(left_out)), evaluation.run.path)

    def _measure(self, scorer: Any, run: Path, example: dict[str, Any], description: str) -> "Progress":
        found: Progress = scorer.progress(run / "examples" / example["file"], description, self.points, self.per_step)
        return replace(found, video=example["video"], problem_set=example["problem_set"])


def _true_descriptions(run: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the examples of a run folder, each with its first true description."""
    from lightning_vista.evaluation.example_videos import read_examples
    from lightning_vista.vista.tables import read_scores

    rows = read_scores(run).rows
    true: dict[tuple[str, str], str] = {}
    for problem_set, video, label, target in rows.select("problem_set", "video", "label", "target").iter_rows():
        if target:
            true.setdefault((problem_set, video), label)
    for example in read_examples(run):
        label = true.get((example["problem_set"], example["video"]))
        if label is not None:
            yield example, example["descriptions"][label]
