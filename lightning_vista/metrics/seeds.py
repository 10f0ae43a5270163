"""From the same figure of several seeds to its mean and interval."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import torch


class SeedMean(NamedTuple):
    """A mean over seeds with its 95% interval; NaN where there are too few seeds for either."""

    mean: float
    ci_low: float
    ci_high: float


def seed_mean(values: Sequence[float]) -> SeedMean:
    """The mean with its 95% interval by Student's distribution: mean -+ t * standard deviation / sqrt(n).

    Args:
        values: The figure of each seed.

    Returns:
        Mean and interval; of one value no interval, of none nothing.

    Example:
        >>> [round(end, 2) for end in seed_mean([1.0, 2.0, 3.0])]
        [2.0, -0.48, 4.48]
    """
    if len(values) < 2:
        return SeedMean(*values, *[math.nan] * (3 - len(values)))
    reach = student_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return SeedMean(fmean(values), fmean(values) - reach, fmean(values) + reach)


def student_quantile(degrees: int, share: float = 0.95) -> float:
    """How far from 0 this share of Student's distribution reaches, to both sides.

    With t = sqrt(degrees) * tan(angle) the density is that of cos(angle)^(degrees - 1) over the angle, which needs no
    special function.

    Args:
        degrees: Degrees of freedom, at least 1.
        share: Between 0 and 1.

    Returns:
        The quantile, to four digits.

    Example:
        >>> round(student_quantile(2), 3)
        4.303
    """
    angles = torch.linspace(0, math.pi / 2, 200_001, dtype=torch.float64)
    shares = torch.cumulative_trapezoid(angles.cos().pow(degrees - 1), angles)
    place = int(torch.searchsorted(shares / shares[-1], share)) + 1
    return math.sqrt(degrees) * math.tan(float(angles[place]))
