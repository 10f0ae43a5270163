"""Means over cells of the benchmark, and paired differences between models."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vista.metrics import bootstrap_interval, standard_error, video_clusters
from lightning_vista.metrics.reward_quality import RewardQuality, reward_quality
from lightning_vista.reports.joining import JoinedProblemSet
from lightning_vista.vista.problem_sets import KINDS, ProblemSet

ALL = "all"

#: Two sorts of permutation sets. The trace-free ones (`go_only` in data) permute `go to` steps only, so that a single
#: frame does not reveal the order; `mixed` ones permute all steps. These names are data and stay as they are.
SPLIT_OF_TYPE = {"permutation_go_only": "go_only", "permutation": "mixed"}


class Cell(NamedTuple):
    """The key of problem sets that are averaged together; `all` marks a pooled dimension.

    Attributes:
        environment: Environment, or `all`.
        level: Level, or `all`.
        group: Kind or split, or `all`.
    """

    environment: str
    level: int | str
    group: str


def cells(problem_sets: Sequence[ProblemSet]) -> dict[Cell, list[int]]:
    """Return the non-empty cells by environment, level and kind, each separately and pooled.

    Args:
        problem_sets: Problem sets.

    Returns:
        Cell -> positions of its problem sets; ordered by environment, level and kind, with `all` after the others.

    Example:
        >>> for cell in cells([ProblemSet("home/level_2/remix/a", {}, ())]):
        ...     print(*cell)
        home 2 general
        home 2 all
        home all general
        home all all
        all 2 general
        all 2 all
        all all general
        all all all
    """
    return _cells(problem_sets, lambda item: (item.kind, ALL), (*KINDS, ALL))


def order_leak_cells(problem_sets: Sequence[ProblemSet]) -> dict[Cell, list[int]]:
    """Return the cells of the permutation sets by environment, level and split.

    A model that does well on mixed orders but not on trace-free ones may infer the order from traces of the steps.

    Args:
        problem_sets: Problem sets.

    Returns:
        Cell -> positions of its problem sets; empty if none is trace-free (`go_only`), as in the official dataset.

    Example:
        >>> sets = [ProblemSet(f"home/level_2/{type}/a", {}, ()) for type in ("permutation", "permutation_go_only")]
        >>> order_leak_cells(sets)[Cell("home", 2, "go_only")], order_leak_cells(sets[:1])
        ([1], {})
    """
    splits = tuple(SPLIT_OF_TYPE.values())
    found = _cells(problem_sets, lambda item: [SPLIT_OF_TYPE[item.type]] if item.type in SPLIT_OF_TYPE else [], splits)
    return found if any(cell.group == "go_only" for cell in found) else {}


def tabulate(
    values: Tensor,
    videos: Sequence[Collection[Hashable]],
    by_cell: Mapping[Cell, list[int]],
    group: str = "kind",
    mean: str = "mean_macro_f1",
) -> list[list[dict[str, Any]]]:
    """Average figures over the problem sets of each cell.

    Args:
        values: Figures `(problem_sets, columns)`, float64; NaN where a column has none.
        videos: Videos of each problem set; sets of a cell that share videos are resampled together.
        by_cell: Cell -> positions of its problem sets.
        group: Key of the cell's group in the rows.
        mean: Key of the mean in the rows.

    Returns:
        For each column its rows `{environment, level, <group>, <mean>, standard_error, ci_low, ci_high,
        problem_sets}`, one per cell in which it has figures; `problem_sets` is their number. A value that does not
        exist (the standard error of one figure, the 95 % interval of one cluster) is None.

    Example:
        >>> import torch
        >>> figures = torch.tensor([[0.5], [0.75]], dtype=torch.float64)
        >>> tabulate(figures, [{"a.mp4"}, {"b.mp4"}], {Cell("home", 2, "general"): [0, 1]})[0][0]["mean_macro_f1"]
        0.625
    """
    rows: list[list[dict[str, Any]]] = [[] for _ in range(values.shape[1])]
    for cell, positions in by_cell.items():
        own = values[positions]
        interval = bootstrap_interval(own, video_clusters([videos[position] for position in positions]), str(cell))
        columns = {mean: own.nanmean(dim=0), "standard_error": standard_error(own)}
        columns |= {"ci_low": interval[0], "ci_high": interval[1], "problem_sets": (~own.isnan()).sum(dim=0)}
        where = {"environment": cell.environment, "level": cell.level, group: cell.group}
        for row, *figures in zip(rows, *(column.tolist() for column in columns.values()), strict=True):
            if figures[-1]:
                row.append(where | dict(zip(columns, map(finite, figures), strict=True)))
    return rows


def paired_differences(values: Tensor) -> Tensor:
    """Subtract each model's figure from each other's, problem set by problem set.

    Args:
        values: Figures `(problem_sets, models)`, float; NaN where a model has none.

    Returns:
        Differences `(problem_sets, models * models)`, those of the first model first; NaN unless both have a figure.

    Example:
        >>> import torch
        >>> paired_differences(torch.tensor([[0.5, 0.25]]))
        tensor([[ 0.0000,  0.2500, -0.2500,  0.0000]])
    """
    return (values.unsqueeze(2) - values.unsqueeze(1)).flatten(start_dim=1)


def finite(value: float) -> float | None:
    """Return a number, or None (JSON's null) if it is NaN.

    Args:
        value: Any number.

    Returns:
        The number or None.

    Example:
        >>> finite(0.5), finite(float("nan"))
        (0.5, None)
    """
    return None if math.isnan(value) else value


def _cells(
    problem_sets: Sequence[ProblemSet],
    groups_of: Callable[[ProblemSet], Sequence[str]],
    group_order: Sequence[str],
) -> dict[Cell, list[int]]:
    """Return the positions of the problem sets in every cell, in reading order."""
    found: dict[Cell, list[int]] = defaultdict(list)
    for position, item in enumerate(problem_sets):
        levels: tuple[int | str, ...] = (item.level, ALL)
        for environment, level, group in product((item.environment, ALL), levels, groups_of(item)):
            found[Cell(environment, level, group)].append(position)

    def reading_order(cell: Cell) -> tuple[Any, ...]:
        level = math.inf if cell.level == ALL else cell.level
        return cell.environment == ALL, cell.environment, level, group_order.index(cell.group)

    return {cell: found[cell] for cell in sorted(found, key=reading_order)}


_NOTHING = RewardQuality(*[torch.nan] * len(RewardQuality._fields))


def reward_rows(
    problem_sets: Sequence[JoinedProblemSet], by_cell: Mapping[Cell, list[int]], common: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """Average `reward_quality` over the problem sets of each cell.

    Args:
        problem_sets: Joined score tables.
        by_cell: Cell -> positions of its problem sets.
        common: Whether to average a figure only over problem sets for which every model has it.

    Returns:
        Model -> rows `{figure, environment, level, kind, mean, standard_error, ci_low, ci_high, problem_sets}` for each
        figure of `RewardQuality`; `exploitable` only for permutation sets, where wrong videos differ in order alone.
    """
    models = list(dict.fromkeys(model for item in problem_sets for model in item.scores))
    values = torch.tensor([[_quality(item, model) for model in models] for item in problem_sets], dtype=torch.float64)
    if common and models:
        values = values.masked_fill(values.isnan().any(dim=1, keepdim=True), torch.nan)
    videos = [{(item.outline.environment, video) for video in item.videos} for item in problem_sets]
    rows = tabulate(values.reshape(len(problem_sets), -1 if models else 0), videos, by_cell, mean="mean")
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
    """Return the quality of one model on one problem set; NaN if its table lacks the set."""
    if model not in item.scores:
        return _NOTHING
    quality = reward_quality(item.scores[model], item.targets)
    return quality if item.outline.kind == "permutation" else quality._replace(exploitable=torch.nan)
