"""The quality of a scorer as a reward: the order in which it puts right and wrong videos of one description.

ViSTa asks which description fits a video. A reward asks the opposite: among all videos that an agent could produce,
does the description's own video get the highest score?
"""

import math
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor


class RewardQuality(NamedTuple):
    """Figures of the order in which a scorer puts the videos of a problem set; means over the descriptions.

    Attributes:
        auc: Chance that a right video gets a higher score than a wrong one, in [0, 1]; a tie counts half.
        rank_accuracy: Share of descriptions whose highest score belongs to right videos only, in [0, 1].
        margin: Score of the best right video minus that of the best wrong one, in standard deviations of the
            description's scores over the videos; 0 where all scores are equal.
        exploitable: 1 if, for some description, the best wrong video scores at least as high as the best right one, so
            that an agent could earn as much by it; otherwise 0.
        kendall_tau: Kendall's rank correlation (tau-b) of the scores of videos with their being right, from -1 to 1; 0
            where all scores are equal. As right videos are equally right, it reaches 1 only for scores with two values:
            with `right` of `videos` right ones and otherwise different scores, at most the square root of
            `2 * right * wrong / (videos * (videos - 1))`.
    """

    auc: float
    rank_accuracy: float
    margin: float
    exploitable: float
    kendall_tau: float


def reward_quality(scores: Tensor, targets: Tensor) -> RewardQuality:
    """Compare the scores of right and wrong videos, description by description.

    Args:
        scores: Scores `(videos, labels)`, any float type; NaN means unscored and is ignored.
        targets: True labels `(videos, labels)`, bool.

    Returns:
        Means over the labels with scores of both right and wrong videos; NaN if no label has both.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> scores = torch.tensor([[0.9, 0.4], [0.1, 0.4]])
        >>> quality = reward_quality(scores, torch.eye(2, dtype=torch.bool))
        >>> quality.auc, quality.rank_accuracy, quality.exploitable
        (0.75, 0.5, 1.0)
    """
    if scores.shape != targets.shape:
        raise ValueError(
            f"`scores`, `targets`: expected the same shape, got {tuple(scores.shape)} and {tuple(targets.shape)}."
        )
    scores = scores.double()
    right, wrong = targets & ~scores.isnan(), ~targets & ~scores.isnan()
    known = right.any(dim=0) & wrong.any(dim=0)
    if not known.any():
        return RewardQuality(*[torch.nan] * len(RewardQuality._fields))
    scores, right, wrong = scores[:, known].T, right[:, known].T, wrong[:, known].T  # (labels, videos)
    margin = _best(scores, right) - _best(scores, wrong)
    deviation = torch.stack([row[~row.isnan()].std() for row in scores])
    orders = [_auc_and_tau(*row) for row in zip(scores, right, wrong, strict=True)]
    return RewardQuality(
        auc=fmean(auc for auc, _ in orders),
        rank_accuracy=(margin > 0).double().mean().item(),
        margin=torch.where(deviation > 0, margin / deviation, 0.0).mean().item(),
        exploitable=float((margin <= 0).any()),
        kendall_tau=fmean(tau for _, tau in orders),
    )


def _best(scores: Tensor, chosen: Tensor) -> Tensor:
    """Return the highest of the chosen scores of each label `(labels,)`."""
    return scores.masked_fill(~chosen, -torch.inf).amax(dim=1)


def _auc_and_tau(scores: Tensor, right: Tensor, wrong: Tensor) -> tuple[float, float]:
    """Return the area under the receiver operating characteristic of a label, and Kendall's tau-b.

    Both count pairs of videos, and follow from ranks (Mann and Whitney's U) without making the pairs.
    """
    known = right | wrong
    _, places, ties = scores[known].unique(return_inverse=True, return_counts=True)
    ties = ties.double()
    ranks = (ties.cumsum(0) - (ties - 1) / 2)[places]  # from 1; equal scores share the mean of their ranks
    num_right, num_wrong = int(right.sum()), int(wrong.sum())
    mixed = num_right * num_wrong
    wins = ranks[right[known]].sum().item() - num_right * (num_right + 1) / 2  # a tie counts half
    num_known = len(places)
    differ = num_known * (num_known - 1) - (ties * (ties - 1)).sum().item()  # ordered pairs without a tie
    tau = 2 * (2 * wins - mixed) / math.sqrt(differ * 2 * mixed) if differ else 0.0
    return wins / mixed, tau
