"""Is a judge fit to be a reward? How its scores of one description order right and wrong videos.

ViSTa asks which description fits a video. A reward asks the other way round: of all that an agent could do, is the
description's own video scored highest?
"""

from typing import NamedTuple

import torch
from torch import Tensor


class RewardQuality(NamedTuple):
    """How a judge's scores order the videos of a problem set; means over its descriptions.

    Attributes:
        auc: The chance that a right video is scored above a wrong one, a tie counting half.
        rank_accuracy: The share of descriptions whose highest score has a right video and no wrong one.
        margin: The best right video's score less the best wrong one's, in standard deviations of the description's
            scores over the videos; 0 where all are equal.
        exploitable: 1 if the best wrong video of some description is scored at least as high as the best right one, so
            that an agent could earn as much by it, else 0.
    """

    auc: float
    rank_accuracy: float
    margin: float
    exploitable: float


def reward_quality(scores: Tensor, targets: Tensor) -> RewardQuality:
    """Compare the scores of right and wrong videos, description by description.

    Args:
        scores: Scores `(videos, labels)`, any float type; an unscored one (NaN) is left out.
        targets: Which labels are true `(videos, labels)`, bool.

    Returns:
        Means over the labels that have both right and wrong videos with scores; NaN if there is no such label.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> scores = torch.tensor([[0.9, 0.4], [0.1, 0.4]])
        >>> quality = reward_quality(scores, torch.eye(2, dtype=torch.bool))
        >>> quality.auc, quality.rank_accuracy, quality.exploitable
        (0.75, 0.5, 1.0)
    """
    if scores.shape != targets.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)}: expected the same shape")
    scores = scores.double()
    right, wrong = targets & ~scores.isnan(), ~targets & ~scores.isnan()
    known = right.any(dim=0) & wrong.any(dim=0)
    if not known.any():
        return RewardQuality(*[torch.nan] * 4)
    scores, right, wrong = scores[:, known].T, right[:, known].T, wrong[:, known].T  # (labels, videos)
    margin = _best(scores, right) - _best(scores, wrong)
    deviation = torch.stack([row[~row.isnan()].std() for row in scores])
    return RewardQuality(
        auc=_auc(scores, right, wrong).mean().item(),
        rank_accuracy=(margin > 0).double().mean().item(),
        margin=torch.where(deviation > 0, margin / deviation, 0.0).mean().item(),
        exploitable=float((margin <= 0).any()),
    )


def _best(scores: Tensor, chosen: Tensor) -> Tensor:
    """The highest of some scores of each label `(labels,)`."""
    return scores.masked_fill(~chosen, -torch.inf).amax(dim=1)


def _auc(scores: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """The area under the receiver operating characteristic of each label `(labels,)`: Mann and Whitney's U."""
    pairs = (right.unsqueeze(2) & wrong.unsqueeze(1)).double()  # (labels, right videos, wrong videos)
    above = (scores.unsqueeze(2) - scores.unsqueeze(1)).nan_to_num().sign()
    return ((above + 1) / 2 * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2))
