"""Robometer's three tests of a reward: alignment with time, ranking of policies, and a confusion matrix."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_vista.optional import require

#: Lowest number of values that have an order worth a correlation: two points always give -1 or 1.
_FEWEST = 3


def value_order_correlation(values: Sequence[float]) -> float:
    """Return the Spearman correlation of values with time (VOC; GVL, section 4).

    Args:
        values: Values of ever longer prefixes of a video, or of its frames, in the order of time; at least 3.

    Returns:
        A correlation from -1 to 1; NaN if all values are equal, since they then have no order.

    Raises:
        ValueError: If there are fewer than 3 values, or one is not finite.
        ModuleNotFoundError: If scipy is missing; the message names the extra.

    Example:
        >>> value_order_correlation([0.1, 0.3, 0.2, 0.9])
        0.8
    """
    _check(values=values)
    if len(set(map(float, values))) == 1:
        return math.nan
    statistic = require("scipy.stats", "vista").spearmanr(range(len(values)), list(values)).statistic
    return round(float(statistic), 12)  # sums of ranks are exact but for the last digits


def policy_ranking(rewards: Sequence[float], quality: Sequence[float]) -> float:
    """Return Kendall's rank correlation (tau-b) of the mean rewards of policies with their true quality.

    Args:
        rewards: Reward of each policy; at least 3 policies.
        quality: Quality of each policy, such as its share of successes.

    Returns:
        A correlation from -1 to 1, where 1 means the same order; NaN if all rewards or all qualities are equal.

    Raises:
        ValueError: If the lengths differ, there are fewer than 3 policies, or a number is not finite.
        ModuleNotFoundError: If scipy is missing; the message names the extra.

    Example:
        >>> policy_ranking([0.9, 0.5, 0.1], [1.0, 0.4, 0.0])
        1.0
    """
    if len(rewards) != len(quality):
        raise ValueError(f"`rewards`, `quality`: expected the same length, got {len(rewards)} and {len(quality)}.")
    _check(rewards=rewards, quality=quality)
    if len(set(map(float, rewards))) == 1 or len(set(map(float, quality))) == 1:
        return math.nan
    statistic = require("scipy.stats", "vista").kendalltau(list(rewards), list(quality)).statistic
    return round(float(statistic), 12)


def reward_confusion(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the mean score of each description over the videos of each task.

    Args:
        scores: Scores `(videos, labels)`, any float type; NaN means unscored and is ignored.
        targets: True labels `(videos, labels)`, bool.

    Returns:
        Matrix `(labels, labels)`, float64: rows are the true labels of videos, columns the scored descriptions. A good
        reward has its highest numbers on the diagonal. NaN where no video of a row has a score.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> reward_confusion(torch.tensor([[0.9, 0.4], [0.2, 0.6]]).double(), torch.eye(2, dtype=torch.bool))
        tensor([[0.9000, 0.4000],
                [0.2000, 0.6000]], dtype=torch.float64)
    """
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(
            "`scores`, `targets`: expected the same shape (videos, labels), got "
            f"{tuple(scores.shape)} and {tuple(targets.shape)}."
        )
    known = ~scores.isnan()
    members = targets.double().T
    sums = members @ scores.double().masked_fill(~known, 0.0)
    counts = members @ known.double()
    return torch.where(counts > 0, sums / counts, torch.nan)


def _check(**series: Sequence[float]) -> None:
    """Refuse too few numbers, and those that are not finite."""
    for name, values in series.items():
        if len(values) < _FEWEST:
            raise ValueError(f"`{name}`: expected at least {_FEWEST} numbers, got {len(values)}. Give more points.")
        if not all(map(math.isfinite, values)):
            raise ValueError(f"`{name}`: expected finite numbers, got {list(values)}. Leave out what is unscored.")
