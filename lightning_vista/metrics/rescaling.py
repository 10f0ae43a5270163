"""Rescaling of raw scores before the highest one becomes the prediction (ViSTa, section 4)."""

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_vista.options import check_word

Rescaling = Literal["none", "video", "label", "both"]
RESCALINGS: tuple[Rescaling, ...] = get_args(Rescaling)

#: Added to the standard deviation, so that a label with the same score everywhere does not divide by zero.
EPSILON = 1e-6


def rescale_scores(scores: Tensor, rescaling: Rescaling = "both") -> Tensor:
    """Rescale the scores of one problem set; `both` is the paper's protocol.

    `video` is the softmax within a video, p(v, l) = exp s(v, l) / sum_l' exp s(v, l'). `label` is the z-score
    z(v, l) = (s(v, l) - m(l)) / (d(l) + 1e-6), where m and d are the mean and the sample standard deviation of label l
    over the videos. `both` applies `label` to the result of `video`. `label` and `both` are transductive: they depend
    on the other videos. Where a single video is scored, every z would be 0, so this step is left out: `both` is `video`
    there, and `label` is `none`.

    Args:
        scores: Scores `(videos, labels)`, any float type; NaN means unscored.
        rescaling: `none`, `video`, `label` or `both`.

    Returns:
        Rescaled scores `(videos, labels)`, float64. A video with any NaN is NaN throughout and does not enter the
        means and deviations of the others.

    Raises:
        ValueError: If `rescaling` is unknown, or `scores` does not have two dimensions.

    Example:
        >>> rescale_scores(torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 0.0]]), "label")
        tensor([[ 1.0000,  0.0000],
                [-1.0000,  0.0000],
                [ 0.0000,  0.0000]], dtype=torch.float64)
    """
    check_word("rescaling", rescaling, RESCALINGS)
    if scores.ndim != 2:
        raise ValueError(f"`scores`: expected (videos, labels), got the shape {tuple(scores.shape)}.")
    scored = ~scores.isnan().any(dim=1)
    values = scores[scored].double()
    if rescaling in ("video", "both"):
        values = values.softmax(dim=1)
    if rescaling in ("label", "both") and len(values) > 1:
        values = _standardise(values)
    rescaled = torch.full_like(scores, torch.nan, dtype=torch.float64)
    rescaled[scored] = values
    return rescaled


def _standardise(values: Tensor) -> Tensor:
    """Return the z-scores of each column of `(videos, labels)`."""
    # The first row is subtracted before the mean, so that a constant column is exactly 0. Otherwise the rounding error
    # of its mean, divided by a tiny deviation, would decide between constant labels, which should tie.
    centred = values - values[:1]
    centred = centred - centred.mean(dim=0)
    deviation = (centred.square().sum(dim=0) / max(len(values) - 1, 1)).sqrt()
    return centred / (deviation + EPSILON)
