"""Means over problem sets and over seeds, with standard errors and intervals."""

import hashlib
import math
from collections.abc import Collection, Hashable, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vista.optional import require


def generator_for(name: str) -> torch.Generator:
    """Return a random generator on the CPU, seeded by a name.

    Args:
        name: Any text, such as a problem set's id.

    Returns:
        A generator of the same numbers for the same name, on any machine.

    Example:
        >>> torch.equal(torch.rand(2, generator=generator_for("a")), torch.rand(2, generator=generator_for("a")))
        True
    """
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


BOOTSTRAP_DRAWS = 2000
_QUANTILES = (0.025, 0.975)


def standard_error(values: Tensor) -> Tensor:
    """Compute the standard error of the mean: sample standard deviation / sqrt(n) (ViSTa, section 4).

    Args:
        values: Figures `(problem_sets, ...)`, float; NaN is ignored.

    Returns:
        Standard errors `(...)`; NaN where fewer than two figures are left.

    Example:
        >>> standard_error(torch.tensor([1.0, 3.0, torch.nan]))
        tensor(1.)
    """
    count = (~values.isnan()).sum(dim=0)
    squares = (values - values.nanmean(dim=0)).square().nansum(dim=0)
    return torch.where(count > 1, (squares / ((count - 1) * count)).sqrt(), torch.nan)


def video_clusters(videos: Sequence[Collection[Hashable]]) -> Tensor:
    """Cluster problem sets that share videos, directly or through other problem sets.

    Args:
        videos: Videos of each problem set.

    Returns:
        Cluster numbers `(problem_sets,)`, int64; equal for problem sets of one connected component.

    Example:
        >>> video_clusters([{"a", "b"}, {"c"}, {"b", "d"}]).tolist()
        [0, 1, 0]
    """
    # Union-find over problem sets; each root is the first problem set of its cluster.
    parents = list(range(len(videos)))

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = item = parents[parents[item]]
        return item

    first_with: dict[Hashable, int] = {}
    for item, members in enumerate(videos):
        for video in members:
            low, high = sorted((root(first_with.setdefault(video, item)), root(item)))
            parents[high] = low
    return torch.tensor([root(item) for item in range(len(videos))], dtype=torch.long)


def bootstrap_interval(values: Tensor, clusters: Tensor, name: str, draws: int = BOOTSTRAP_DRAWS) -> Tensor:
    """Compute the 95 % percentile interval of each column's mean by resampling whole clusters with replacement.

    NaN is ignored. Columns with figures for the same problem sets are resampled alike, so the interval of a column
    does not depend on the other columns.

    Args:
        values: Figures `(problem_sets, columns)`, float64; a column is a model or a paired difference of two models,
            NaN where it has no figure.
        clusters: Cluster of each problem set `(problem_sets,)`, int64, from `video_clusters`.
        name: Text that seeds the draws.
        draws: Number of resamples.

    Returns:
        Lower and upper ends `(2, columns)`, float64; NaN where a column has figures in fewer than two clusters.

    Example:
        >>> values = torch.tensor([[0.0], [1.0], [1.0], [1.0]], dtype=torch.float64)
        >>> bootstrap_interval(values, torch.arange(4), "example").T
        tensor([[0.2500, 1.0000]], dtype=torch.float64)
    """
    interval = values.new_full((2, values.shape[1]), torch.nan)
    present = ~values.isnan()
    for rows in torch.unique(present, dim=1).T:
        columns = (present == rows[:, None]).all(dim=0)
        members = torch.unique(clusters[rows], return_inverse=True)[1]
        if members.numel() and members.max() > 0:
            means = _resampled_means(values[rows][:, columns], members, name, draws)
            interval[:, columns] = means.quantile(values.new_tensor(_QUANTILES), dim=0)
    return interval


def _resampled_means(values: Tensor, clusters: Tensor, name: str, draws: int) -> Tensor:
    """Return means `(draws, columns)` of resampled `values` `(problem_sets, columns)`; clusters count from 0."""
    # A resample's mean needs only each cluster's sum and size, so drawing clusters is two matrix products.
    sizes = clusters.bincount().to(values)
    sums = values.new_zeros(len(sizes), values.shape[1]).index_add(0, clusters, values)
    drawn = torch.randint(len(sizes), (draws, len(sizes)), generator=generator_for(name))
    weights = values.new_zeros(draws, len(sizes)).scatter_add(1, drawn, values.new_ones(drawn.shape))
    return (weights @ sums) / (weights @ sizes).unsqueeze(1)


class SeedMean(NamedTuple):
    """A mean over seeds with its 95% interval; NaN where there are too few seeds."""

    mean: float
    ci_low: float
    ci_high: float


def seed_mean(values: Sequence[float]) -> SeedMean:
    """Compute a mean with its 95% interval by Student's distribution: mean -+ t * standard deviation / sqrt(n).

    Args:
        values: Figures, one per seed.

    Returns:
        Mean and interval; NaN in place of the interval for a single value, and of all three without values. If a value
        is infinite, such as that of what was not reached, so is the mean, without an interval.

    Raises:
        ModuleNotFoundError: If scipy is missing; the message names the extra.

    Example:
        >>> [round(end, 2) for end in seed_mean([1.0, 2.0, 3.0])]
        [2.0, -0.48, 4.48]
    """
    if len(values) < 2:
        return SeedMean(*values, *[math.nan] * (3 - len(values)))
    if not all(map(math.isfinite, values)):
        return SeedMean(sum(values) / len(values), math.nan, math.nan)  # fmean refuses both signs of infinity
    quantile = float(require("scipy.stats", "vista").t.ppf(_QUANTILES[1], len(values) - 1))
    reach = quantile * stdev(values) / math.sqrt(len(values))
    return SeedMean(fmean(values), fmean(values) - reach, fmean(values) + reach)
