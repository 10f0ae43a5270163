"""How fit judges are to be rewards: means over problem sets, per environment, level and kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lightning_vista.metrics.reward_quality import RewardQuality, reward_quality
from lightning_vista.reports.comparisons import Cell, tabulate
from lightning_vista.reports.joining import JoinedProblemSet

_NOTHING = RewardQuality(*[torch.nan] * 4)


def reward_rows(
    problem_sets: Sequence[JoinedProblemSet], by_cell: Mapping[Cell, list[int]]
) -> dict[str, list[dict[str, Any]]]:
    """Average `reward_quality` over the problem sets of each cell.

    Args:
        problem_sets: Score tables side by side.
        by_cell: Cell -> the positions of its problem sets.

    Returns:
        Model -> rows `{figure, environment, level, kind, mean, standard_error, ci_low, ci_high, problem_sets}` for each
        figure of `RewardQuality`; `exploitable` of permutation sets only, where all that is wrong is the order.
    """
    models = list(dict.fromkeys(model for item in problem_sets for model in item.scores))
    values = torch.tensor([[_quality(item, model) for model in models] for item in problem_sets], dtype=torch.float64)
    videos = [{(item.outline.environment, video) for video in item.videos} for item in problem_sets]
    rows = tabulate(values.flatten(start_dim=1), videos, by_cell, mean="mean")
    figures = RewardQuality._fields
    return {
        model: [
            {"figure": figure, **row}
            for place, figure in enumerate(figures)
            for row in rows[number * len(figures) + place]
        ]
        for number, model in enumerate(models)
    }


def _quality(item: JoinedProblemSet, model: str) -> RewardQuality:
    """The quality of one model on one problem set; NaN where there is none."""
    if model not in item.scores:
        return _NOTHING
    quality = reward_quality(item.scores[model], item.targets)
    return quality if item.outline.kind == "permutation" else quality._replace(exploitable=torch.nan)
