"""Scorers as rewards, from score tables: confusion of descriptions, and success by a threshold."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.metrics.reward_tests import reward_confusion
from lightning_vista.metrics.success_threshold import cross_validate_threshold
from lightning_vista.reports.comparisons import Cell, finite
from lightning_vista.reports.joining import JoinedProblemSet


def confusion_matrices(problem_sets: Sequence[JoinedProblemSet]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the mean raw score of each description over the videos of each label, see `reward_confusion`.

    Args:
        problem_sets: Joined score tables.

    Returns:
        Model -> problem set id -> `{labels, means}`. Rows of `means` are the true labels of videos, columns the scored
        descriptions; None where no video of the row has a score.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {model: {} for item in problem_sets for model in item.scores}
    for item in problem_sets:
        for model, scores in item.scores.items():
            means = [[finite(mean) for mean in row] for row in reward_confusion(scores, item.targets).tolist()]
            found[model][item.outline.id] = {"labels": list(item.labels), "means": means}
    return found


def success_rows(
    problem_sets: Sequence[JoinedProblemSet], by_cell: Mapping[Cell, Sequence[int]]
) -> dict[str, list[dict[str, Any]]]:
    """Tell success by a threshold of raw scores: an episode is a video with a description, which fits or not.

    A table has no validation videos. So each half of the videos gets the threshold that is best on the other half, see
    `cross_validate_threshold`. The halves are drawn by a hash of the video, so that a video is in the same half in all
    cells and problem sets.

    Args:
        problem_sets: Joined score tables.
        by_cell: Cell -> positions of its problem sets.

    Returns:
        Model -> rows `{environment, level, kind, threshold, confusion, accuracy, balanced_accuracy, f1, unscored,
        problem_sets}`. `threshold` is the one that all videos of the cell give; the other figures are those of the
        halves. `confusion` is `[[true negatives, false positives], [false negatives, true positives]]`. Cells of which
        a half lacks scored successes or failures do not have a row.
    """
    seconds = [_second_half(item) for item in problem_sets]
    rows: dict[str, list[dict[str, Any]]] = {model: [] for item in problem_sets for model in item.scores}
    for model, own in rows.items():
        for cell, positions in by_cell.items():
            chosen = [position for position in positions if model in problem_sets[position].scores]
            if chosen and (row := _row([problem_sets[place] for place in chosen], [seconds[p] for p in chosen], model)):
                own.append({"environment": cell.environment, "level": cell.level, "kind": cell.group, **row})
    return rows


def _row(items: Sequence[JoinedProblemSet], seconds: Sequence[Tensor], model: str) -> dict[str, Any] | None:
    """Return the figures of a model on some problem sets; None without a threshold."""
    scores = torch.cat([item.scores[model].flatten() for item in items])
    succeeded = torch.cat([item.targets.flatten() for item in items])
    quality = cross_validate_threshold(scores, succeeded, torch.cat([second.flatten() for second in seconds]))
    if quality is None:
        return None
    return {
        "threshold": quality.threshold,
        "confusion": [list(counts) for counts in quality.confusion],
        "accuracy": quality.accuracy,
        "balanced_accuracy": quality.balanced_accuracy,
        "f1": quality.f1,
        "unscored": quality.unscored,
        "problem_sets": len(items),
    }


def _second_half(item: JoinedProblemSet) -> Tensor:
    """Return which scores are of videos in the second half `(videos, labels)`, bool."""
    names = [f"{item.outline.environment}/{video}".encode() for video in item.videos]
    second = torch.tensor([hashlib.sha256(name).digest()[0] % 2 == 1 for name in names])
    return second[:, None].expand(-1, len(item.labels))
