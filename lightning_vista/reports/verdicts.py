"""Verdicts of scorers against chance, by what a problem set asks for, by level, and by type."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from lightning_vista.metrics.aggregation import video_clusters
from lightning_vista.metrics.level_slopes import level_slopes
from lightning_vista.reports.comparisons import ALL, Cell, finite, tabulate
from lightning_vista.reports.joining import BASELINES
from lightning_vista.vista.problem_sets import ProblemSet

ABOVE, AT, BELOW, UNKNOWN = "above chance", "at chance", "below chance", "too few sets"

#: What a scorer may be able to tell apart, with its title. `order` means trace-free permutation sets where a dataset
#: has some, and all permutation sets elsewhere.
ASPECTS = {
    "objects": "Objects",
    "actions": "Actions",
    "steps": "The steps differ",
    "order": "Only the order differs",
}
#: The aspects that have levels.
SEQUENTIAL = ("steps", "order")
_ASPECT_OF_KIND = {"objects": "objects", "actions": "actions", "general": "steps", "permutation": "order"}

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class ChanceResults:
    """The figures of one model against chance.

    Attributes:
        verdicts: Rows by environment, aspect (the key `aspect`) and, for the sequential aspects, level.
        slopes: Rows `{environment, aspect, slope, ci_low, ci_high, problem_sets}`: the change of macro F1 minus chance
            with each further step.
        types: Rows by environment, official type (the key `type`) and `split`: `all`, `seen` or `held_out`.
    """

    verdicts: Rows
    slopes: Rows
    types: Rows


def compare_with_chance(
    problem_sets: Sequence[ProblemSet],
    videos: Sequence[Collection[Hashable]],
    f1: Tensor,
    models: Sequence[str],
    held_out: Mapping[str, bool],
) -> dict[str, ChanceResults]:
    """Compare every model with a random answer on the same problem sets.

    Args:
        problem_sets: Problem sets.
        videos: Videos of each problem set; sets that share videos are resampled together.
        f1: Macro F1 `(problem_sets, models)`, float64; NaN where a model was not run.
        models: Names of the columns, among them the baseline `random`.
        held_out: Problem set id -> whether its combinations were held out of training.

    Returns:
        Model -> its figures; the rows of `verdicts` and `types` hold `level`, `mean_macro_f1`, `ci_low`, `ci_high`,
        `problem_sets`, `chance`, the mean `difference` to chance with `difference_low` and `difference_high`, and the
        `verdict` that follows from these two. Empty rows for the baselines.
    """
    by_aspect, by_type = _aspect_cells(problem_sets), _type_cells(problem_sets, held_out)
    chance = f1[:, list(models).index("random")]
    verdicts = _chance_rows(f1, chance, videos, by_aspect, "aspect")
    types = _chance_rows(f1, chance, videos, by_type, "type")
    slopes = _slope_rows(f1 - chance[:, None], problem_sets, videos, by_aspect)
    for rows in types:
        for row in rows:
            row["type"], row["split"] = row["type"].split("|")
    return {
        model: ChanceResults([], [], [])
        if model in BASELINES
        else ChanceResults(verdicts[place], slopes[place], types[place])
        for place, model in enumerate(models)
    }


def verdict_of(low: float | None, high: float | None) -> str:
    """Return the verdict that the 95 % interval of the difference to chance gives.

    Args:
        low: Lower end of the interval; None if it does not exist.
        high: Upper end.

    Example:
        >>> verdict_of(0.02, 0.3), verdict_of(-0.1, 0.1), verdict_of(None, None)
        ('above chance', 'at chance', 'too few sets')
    """
    if low is None or high is None:
        return UNKNOWN
    return ABOVE if low > 0 else BELOW if high < 0 else AT


def aspect_of(problem_set: ProblemSet, trace_free: bool) -> str | None:
    """Return the aspect that a problem set asks for; None if it belongs to none.

    Args:
        problem_set: Problem set, or its outline.
        trace_free: Whether only trace-free permutation sets count as `order`.

    Example:
        >>> aspect_of(ProblemSet("home/level_2/permutation/a", {}, ()), trace_free=False)
        'order'
    """
    if trace_free and problem_set.type == "permutation":
        return None
    return _ASPECT_OF_KIND.get(problem_set.kind)


def _aspect_cells(problem_sets: Sequence[ProblemSet]) -> dict[Cell, list[int]]:
    """Return the positions of the problem sets by environment, level and aspect."""
    trace_free = any(item.type == "permutation_go_only" for item in problem_sets)
    found: dict[Cell, list[int]] = defaultdict(list)
    for position, item in enumerate(problem_sets):
        if aspect := aspect_of(item, trace_free):
            levels: tuple[int | str, ...] = (ALL, item.level) if aspect in SEQUENTIAL else (ALL,)
            for environment, level in product((item.environment, ALL), levels):
                found[Cell(environment, level, aspect)].append(position)
    places = list(ASPECTS)
    return dict(sorted(found.items(), key=lambda pair: (pair[0][0], places.index(pair[0][2]), str(pair[0][1]))))


def _type_cells(problem_sets: Sequence[ProblemSet], held_out: Mapping[str, bool]) -> dict[Cell, list[int]]:
    """Return the positions of the problem sets by environment, type and split, the two joined by a bar."""
    found: dict[Cell, list[int]] = defaultdict(list)
    for position, item in enumerate(problem_sets):
        splits = [ALL, *([("seen", "held_out")[held_out[item.id]]] if item.id in held_out else [])]
        # Crafting sets lie directly in the level folder, so that their "type" is their own name.
        type = item.type if item.id.count("/") > 2 else item.id.split("/")[1]
        for environment, split in product((item.environment, ALL), splits):
            found[Cell(environment, ALL, f"{type}|{split}")].append(position)
    return dict(sorted(found.items()))


def _chance_rows(
    f1: Tensor, chance: Tensor, videos: Sequence[Collection[Hashable]], by_cell: Mapping[Cell, list[int]], group: str
) -> list[Rows]:
    """Return the rows of every column of `f1`, with the paired difference to chance."""
    own = tabulate(f1, videos, by_cell, group)
    paired = tabulate(f1 - chance[:, None], videos, by_cell, group, mean="difference")
    for rows, differences in zip(own, paired, strict=True):
        for row, difference in zip(rows, differences, strict=True):
            low, high = difference["ci_low"], difference["ci_high"]
            row |= {
                "chance": row["mean_macro_f1"] - difference["difference"],
                "difference": difference["difference"],
                "difference_low": low,
                "difference_high": high,
                "verdict": verdict_of(low, high),
            }
    return own


def _slope_rows(
    above: Tensor,
    problem_sets: Sequence[ProblemSet],
    videos: Sequence[Collection[Hashable]],
    by_cell: Mapping[Cell, list[int]],
) -> list[Rows]:
    """Return the slopes over levels of every column."""
    levels = torch.tensor([item.level for item in problem_sets])
    rows: list[Rows] = [[] for _ in range(above.shape[1])]
    for cell, positions in by_cell.items():
        if cell.group not in SEQUENTIAL or cell.level != ALL:
            continue
        clusters = video_clusters([videos[position] for position in positions])
        slopes = level_slopes(above[positions], levels[positions], clusters, f"slope {cell}")
        counts = (~above[positions].isnan()).sum(dim=0).tolist()
        for own, values, count in zip(rows, slopes.T.tolist(), counts, strict=True):
            figures = dict(zip(("slope", "ci_low", "ci_high"), map(finite, values), strict=True))
            if figures["slope"] is not None:
                own.append({"environment": cell.environment, "aspect": cell.group, **figures, "problem_sets": count})
    return rows
