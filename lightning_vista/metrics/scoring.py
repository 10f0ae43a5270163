"""The result of one problem set: scores and true labels in, macro F1 out (ViSTa, section 4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_vista.metrics.f1 import accuracy, macro_f1
from lightning_vista.metrics.predictions import count_ties, predict_labels
from lightning_vista.metrics.rescaling import Rescaling, rescale_scores


@dataclass(frozen=True)
class ProblemSetResult:
    """How a model did on one problem set.

    Attributes:
        macro_f1: Macro F1 in [0, 1]; NaN if no video counts (`strict=False`, all unscored).
        accuracy: The share of videos with exactly the true labels; NaN as above.
        videos: The number of videos, unscored ones included.
        unscored: The number of videos with a candidate that has no score.
        ties: The number of scored videos whose prediction was settled by the order of the labels.
    """

    macro_f1: float
    accuracy: float
    videos: int
    unscored: int
    ties: int


def score_problem_set(
    scores: Tensor, targets: Tensor, rescaling: Rescaling = "both", strict: bool = True
) -> ProblemSetResult:
    """Score the predictions of one model on one problem set.

    Args:
        scores: Scores `(videos, labels)`, any float type; one NaN makes its video unscored.
        targets: True labels `(videos, labels)`, bool. With k true labels the k best are predicted.
        rescaling: `none`, `video`, `label` or `both`.
        strict: Whether an unscored video is wrong: it predicts nothing and its labels are missed. Otherwise it is
            left out. It is counted in `unscored` either way.

    Returns:
        The result.

    Raises:
        ValueError: If the shapes differ, or `rescaling` is unknown.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [torch.nan, 0.5]])
        >>> targets = torch.tensor([[True, False], [False, True], [False, True]])
        >>> score_problem_set(scores, targets, strict=False)
        ProblemSetResult(macro_f1=1.0, accuracy=1.0, videos=3, unscored=1, ties=0)
    """
    if scores.shape != targets.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)}: expected the same shape")
    rescaled = rescale_scores(scores, rescaling)
    num_labels = targets.sum(dim=1)
    predictions = predict_labels(rescaled, num_labels)
    scored = ~rescaled.isnan().any(dim=1)
    counted = torch.ones_like(scored) if strict else scored
    return ProblemSetResult(
        macro_f1=macro_f1(predictions[counted], targets[counted]).item(),
        accuracy=accuracy(predictions[counted], targets[counted]).item(),
        videos=len(scores),
        unscored=int((~scored).sum()),
        ties=count_ties(rescaled, num_labels),
    )
