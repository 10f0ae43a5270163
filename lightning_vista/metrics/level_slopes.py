"""Slopes of a figure over the levels of the benchmark, with bootstrap intervals."""

import torch
from torch import Tensor

from lightning_vista.metrics.aggregation import BOOTSTRAP_DRAWS, generator_for

_QUANTILES = (0.025, 0.975)


def level_slopes(values: Tensor, levels: Tensor, clusters: Tensor, name: str, draws: int = BOOTSTRAP_DRAWS) -> Tensor:
    """Fit a line by least squares to each column, over the levels of its problem sets.

    Args:
        values: Figures `(problem_sets, columns)`, float64; NaN is ignored.
        levels: Level of each problem set `(problem_sets,)`.
        clusters: Cluster of each problem set `(problem_sets,)`, from `video_clusters`; whole clusters are resampled.
        name: Text that seeds the draws.
        draws: Number of resamples.

    Returns:
        Change per level and the ends of its 95 % percentile interval `(3, columns)`, float64; NaN where a column has a
        single level, and for the interval where it has fewer than three clusters.

    Example:
        >>> values = torch.tensor([[0.9], [0.7], [0.5], [0.3]], dtype=torch.float64)
        >>> level_slopes(values, torch.tensor([2, 3, 4, 5]), torch.arange(4), "example")[0]
        tensor([-0.2000], dtype=torch.float64)
    """
    found = values.new_full((3, values.shape[1]), torch.nan)
    for column in range(values.shape[1]):
        present = ~values[:, column].isnan()
        y, x = values[present, column], levels[present].to(values)
        members = torch.unique(clusters[present], return_inverse=True)[1]
        if x.unique().numel() < 2:
            continue
        moments = torch.stack([torch.ones_like(x), x, y, x * x, x * y], dim=1)
        found[0, column] = _slope(moments.sum(dim=0, keepdim=True)).squeeze()
        count = int(members.max()) + 1
        if count < 3:
            continue
        # A resample's line needs only each cluster's moments, so drawing clusters is one matrix product.
        sums = values.new_zeros(count, 5).index_add(0, members, moments)
        drawn = torch.randint(count, (draws, count), generator=generator_for(name))
        weights = values.new_zeros(draws, count).scatter_add(1, drawn, values.new_ones(drawn.shape))
        slopes = _slope(weights @ sums)
        found[1:, column] = slopes[slopes.isfinite()].quantile(values.new_tensor(_QUANTILES))
    return found


def _slope(moments: Tensor) -> Tensor:
    """Return the slopes of lines from their sums of 1, x, y, xx and xy `(lines, 5)`; NaN for a single x."""
    n, x, y, xx, xy = moments.T
    spread = n * xx - x * x
    return torch.where(spread > 1e-9, (n * xy - x * y) / spread, torch.nan)
