"""The metric of the evaluation loop: macro F1 from scores of all batches and ranks (ViSTa, section 4)."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_vista.metrics.rescaling import RESCALINGS, Rescaling
from lightning_vista.metrics.scoring import ProblemSetResult, score_problem_set
from lightning_vista.options import check_word
from lightning_vista.processes.parallel import one_thread
from lightning_vista.vista.problem_sets import ProblemSet


class ProblemSetScores(Metric):
    """Macro F1 over problem sets, from scores that arrive in any order and on any rank.

    The state has one slot per (problem set, video, candidate), and ranks are joined by a sum over slots. So a rank
    without videos is not a special case, and a video scored twice is detected. Scores stay float64 under `half()`,
    `set_dtype()` and `to(dtype)`. Videos that no rank scored are left out.

    Args:
        problem_sets: Problem sets to score; `update` refers to problem sets, videos and labels by their position here.
        rescaling: `none`, `video`, `label` or `both` (the paper's), see `rescale_scores`.
        strict: Whether an unscored video counts as wrong; otherwise it is left out.
        **kwargs: Further arguments of `torchmetrics.Metric`.

    Raises:
        ValueError: If `rescaling` is unknown.

    Example:
        >>> from lightning_vista.vista.problem_sets import LabelledVideo
        >>> videos = (LabelledVideo("0.mp4", ("ab",)), LabelledVideo("1.mp4", ("ba",)))
        >>> metric = ProblemSetScores([ProblemSet("home/level_2/remix/a", {"ab": "...", "ba": "..."}, videos)])
        >>> metric.update(
        ...     problem_set=torch.tensor([0, 0, 0, 0]),
        ...     video=torch.tensor([0, 0, 1, 1]),
        ...     label=torch.tensor([0, 1, 0, 1]),
        ...     score=torch.tensor([0.9, 0.1, 0.2, 0.8]),
        ...     target=torch.tensor([True, False, False, True]),
        ... )
        >>> metric.compute()["macro_f1/home/level_2/general"]
        tensor(1., dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    scores: Tensor
    targets: Tensor
    counts: Tensor
    _num_videos: Tensor
    _num_labels: Tensor
    _first_slot: Tensor

    def __init__(
        self,
        problem_sets: Sequence[ProblemSet],
        rescaling: Rescaling = "both",
        strict: bool = True,
        **kwargs: Any,  # whatever torchmetrics takes
    ) -> None:
        super().__init__(**kwargs)
        check_word("rescaling", rescaling, RESCALINGS)
        self.problem_sets = tuple(problem_sets)
        self.rescaling: Rescaling = rescaling
        self.strict = strict
        self._numbers = {item.id: number for number, item in enumerate(self.problem_sets)}
        self._positions = [{video.path: place for place, video in enumerate(item.videos)} for item in self.problem_sets]
        num_videos = torch.tensor([len(item.videos) for item in self.problem_sets], dtype=torch.long)
        num_labels = torch.tensor([len(item.labels) for item in self.problem_sets], dtype=torch.long)
        ends = (num_videos * num_labels).cumsum(0)
        self.register_buffer("_num_videos", num_videos, persistent=False)
        self.register_buffer("_num_labels", num_labels, persistent=False)
        self.register_buffer("_first_slot", ends - num_videos * num_labels, persistent=False)
        slots = int(ends[-1]) if len(ends) else 0
        self.add_state("scores", torch.zeros(slots, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("targets", torch.zeros(slots, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(slots, dtype=torch.long), dist_reduce_fx="sum")

    def locate(self, problem_set: str, video: str) -> tuple[int, int]:
        """Return the positions that `update` takes for a problem set and one of its videos.

        Args:
            problem_set: Id of the problem set.
            video: Path of the video below the folder of all videos (`ProblemSet.video_key`).

        Returns:
            Position of the problem set, and position of the video in it.

        Raises:
            KeyError: If the problem set is unknown or does not have this video.
        """
        number = self._numbers[problem_set]
        environment, _, path = video.partition("/")
        if environment != self.problem_sets[number].environment:
            raise KeyError(video)
        return number, self._positions[number][path]

    def update(self, problem_set: Tensor, video: Tensor, label: Tensor, score: Tensor, target: Tensor) -> None:
        """Add rows, one per (video, candidate), on any device.

        Args:
            problem_set: Positions in `problem_sets` `(rows,)`, integer.
            video: Positions in the `videos` of the problem set `(rows,)`, integer.
            label: Positions in the `labels` of the problem set `(rows,)`, integer.
            score: Scores `(rows,)`, float; NaN means unscored.
            target: Truth of the labels `(rows,)`, bool.

        Raises:
            ValueError: If the shapes differ, a position does not exist, or a score is infinite.
        """
        columns = (problem_set, video, label, score, target)
        if any(column.ndim != 1 or len(column) != len(problem_set) for column in columns):
            shapes = ", ".join(str(tuple(column.shape)) for column in columns)
            raise ValueError(f"Expected five columns of one length (rows,), got the shapes {shapes}.")
        problem_set, video, label, score, target = (column.to(self.device) for column in columns)
        self._check_range("problem_set", problem_set, torch.tensor(len(self.problem_sets)))
        self._check_range("video", video, self._num_videos[problem_set])
        self._check_range("label", label, self._num_labels[problem_set])
        if score.isinf().any():
            raise ValueError("`score`: expected finite numbers, got infinity. Give NaN where a video is unscored.")
        # Added and not assigned: a video scored twice shows as a count of 2, within a rank as well as across ranks.
        slots = self._first_slot[problem_set] + video * self._num_labels[problem_set] + label
        self.scores = self.scores.index_add(0, slots, score.double())
        self.targets = self.targets.index_add(0, slots, target.long())
        self.counts = self.counts.index_add(0, slots, torch.ones_like(slots))

    def compute(self) -> dict[str, Tensor]:
        """Compute the figures to log, over all ranks.

        Returns:
            Scalars: `macro_f1` and `accuracy` (unweighted means over the problem sets, float64), `unscored` and
            `ties` (numbers of videos, int64), and macro F1 for each cell as `macro_f1/<environment>/level_<n>/<kind>`
            and for each kind as `macro_f1/<kind>`. NaN where no problem set has a figure.

        Raises:
            ValueError: If a video was scored twice, or only on some of its candidates.
        """
        results = self._results()
        cells: dict[str, list[float]] = defaultdict(list)
        for item in self.problem_sets:
            if item.id in results:
                f1 = results[item.id].macro_f1
                cells[f"macro_f1/{item.environment}/level_{item.level}/{item.kind}"].append(f1)
                cells[f"macro_f1/{item.kind}"].append(f1)
        figures = {
            "macro_f1": self._mean([result.macro_f1 for result in results.values()]),
            "accuracy": self._mean([result.accuracy for result in results.values()]),
            "unscored": torch.tensor(sum(result.unscored for result in results.values()), device=self.device),
            "ties": torch.tensor(sum(result.ties for result in results.values()), device=self.device),
        }
        return figures | {name: self._mean(cells[name]) for name in sorted(cells)}

    def per_problem_set(self) -> dict[str, ProblemSetResult]:
        """Compute the result of every problem set with scored videos, by its id, over all ranks.

        Returns:
            Results in the order of `problem_sets`, the same on every rank.

        Raises:
            ValueError: As for `compute`.
        """
        # Inside `compute`, torchmetrics has synced the state already; syncing twice is an error.
        local = not self._is_synced
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=local, should_unsync=local):
            return self._results()

    @one_thread()
    def _results(self) -> dict[str, ProblemSetResult]:
        """Return the results of the current state, local or synced."""
        sizes = (self._num_videos * self._num_labels).tolist()
        columns = (torch.split(column.cpu(), sizes) for column in (self.scores, self.targets, self.counts))
        results = {}
        for item, scores, targets, counts in zip(self.problem_sets, *columns, strict=True):
            shape = (len(item.videos), len(item.labels))
            seen = _seen_videos(item, counts.view(shape))
            if seen.any():
                results[item.id] = score_problem_set(
                    scores.view(shape)[seen], targets.view(shape)[seen].bool(), self.rescaling, self.strict
                )
        return results

    def _mean(self, values: list[float]) -> Tensor:
        """Return the mean of the figures that are not NaN."""
        return torch.tensor(values, dtype=torch.float64, device=self.device).nanmean()

    def _check_range(self, name: str, positions: Tensor, size: Tensor) -> None:
        """Raise unless every position is in [0, size)."""
        outside = (positions < 0) | (positions >= size.to(positions.device))
        if outside.any():
            raise ValueError(
                f"`{name}`: expected positions in `problem_sets`, got {positions[outside][0].item()}, which is outside."
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        """Follow `fn` to another device, but never to another type: z-scores need float64 (torchmetrics override)."""
        super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)
        return self


def _seen_videos(problem_set: ProblemSet, counts: Tensor) -> Tensor:
    """Return a mask of the videos with scores `(videos,)`, bool, from the number of scores of each candidate.

    Args:
        problem_set: The problem set.
        counts: Number of scores of each candidate `(videos, labels)`, int64.

    Raises:
        ValueError: If a video has a candidate without a score, or with several.
    """
    seen = counts.any(dim=1)
    wrong = seen & (counts != 1).any(dim=1)
    if wrong.any():
        position = int(wrong.nonzero()[0])
        video = problem_set.video_key(problem_set.videos[position])
        raise ValueError(
            f"{problem_set.id}: {video} got {int(counts[position].sum())} scores for its {counts.shape[1]} candidates. "
            "Give each candidate exactly one, and do not use a sampler that repeats samples (DistributedSampler)."
        )
    return seen
