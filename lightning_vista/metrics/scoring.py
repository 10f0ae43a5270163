"""Predictions, accuracy and macro F1 from scores (ViSTa, section 4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_vista.metrics.rescaling import Rescaling, rescale_scores


def macro_f1(predictions: Tensor, targets: Tensor) -> Tensor:
    """Compute macro F1: the mean of 2 TP / (2 TP + FP + FN) over the labels that are true or predicted of any video.

    Args:
        predictions: Predicted labels `(..., videos, labels)`, bool; leading dimensions are separate predictions.
        targets: True labels `(..., videos, labels)`, bool, broadcast against `predictions`.

    Returns:
        Macro F1 `(...)`, float64 in [0, 1]; a label without a true positive counts 0. NaN where no label is true or
        predicted.

    Example:
        >>> import torch
        >>> targets = torch.tensor([[True, False, False], [False, True, False]])
        >>> predictions = torch.tensor([[True, False, False], [True, False, False]])
        >>> macro_f1(predictions, targets)  # 2/3 for the first label, 0 for the second; the third does not count
        tensor(0.3333, dtype=torch.float64)
    """
    hits = (predictions & targets).sum(dim=-2)
    named = predictions.sum(dim=-2) + targets.sum(dim=-2)  # 2 TP + FP + FN
    f1 = 2 * hits.double() / named.clamp(min=1)
    return f1.sum(dim=-1) / (named > 0).sum(dim=-1)


def accuracy(predictions: Tensor, targets: Tensor) -> Tensor:
    """Compute the share of videos whose predicted labels are exactly the true ones.

    Args:
        predictions: Predicted labels `(..., videos, labels)`, bool; leading dimensions are separate predictions.
        targets: True labels `(..., videos, labels)`, bool, broadcast against `predictions`.

    Returns:
        Accuracy `(...)`, float64 in [0, 1]; NaN without videos.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([[True, False], [True, True]]), torch.tensor([[True, False], [True, False]]))
        tensor(0.5000, dtype=torch.float64)
    """
    return (predictions == targets).all(dim=-1).double().mean(dim=-1)


def predict_labels(scores: Tensor, num_labels: int | Tensor = 1) -> Tensor:
    """Predict the `num_labels` best labels of each video.

    Args:
        scores: Scores `(..., videos, labels)`, any float type; NaN means unscored.
        num_labels: Number of labels of each video: one number, or `(videos,)` integers in multi-label problem sets.

    Returns:
        Predictions `(..., videos, labels)`, bool. Between equal scores the label listed first is predicted. A video
        with any NaN does not predict a label.

    Example:
        >>> predict_labels(torch.tensor([[0.1, 0.7, 0.7], [0.3, 0.2, 0.1]]), torch.tensor([1, 2]))
        tensor([[False,  True, False],
                [ True,  True, False]])
    """
    best_first = scores.sort(dim=-1, descending=True, stable=True).indices
    limit = torch.as_tensor(num_labels, device=scores.device).unsqueeze(-1)
    within = torch.arange(scores.shape[-1], device=scores.device) < limit
    predicted = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best_first, within.expand_as(best_first))
    return predicted & ~scores.isnan().any(dim=-1, keepdim=True)


def count_ties(scores: Tensor, num_labels: int | Tensor = 1) -> int:
    """Count the videos whose prediction was decided by the order of the labels.

    Args:
        scores: Scores `(videos, labels)`, any float type; NaN means unscored.
        num_labels: Number of labels of each video: one number, or `(videos,)` integers.

    Returns:
        The number of scored videos whose last predicted and first unpredicted label have equal scores.

    Example:
        >>> count_ties(torch.tensor([[0.7, 0.7, 0.1], [0.7, 0.1, 0.1]]))
        1
    """
    predicted = predict_labels(scores, num_labels)
    # An unscored video predicts nothing, so its `last_in` is inf and its `first_out` NaN: never a tie.
    last_in = scores.masked_fill(~predicted, torch.inf).amin(dim=-1)
    first_out = scores.masked_fill(predicted, -torch.inf).amax(dim=-1)
    return int((last_in == first_out).sum())


def share_changed(before: Tensor, after: Tensor) -> Tensor:
    """Compute the share of videos whose predicted labels differ between two predictions.

    Args:
        before: Predicted labels `(..., videos, labels)`, bool.
        after: Other predictions of the same videos, of the same shape.

    Returns:
        Shares `(...)`, float64 in [0, 1]. Videos without a prediction on one side are left out; NaN without others.

    Example:
        >>> before = torch.tensor([[True, False], [True, False], [False, False]])
        >>> share_changed(before, torch.tensor([[True, False], [False, True], [True, False]]))
        tensor(0.5000, dtype=torch.float64)
    """
    both = before.any(dim=-1) & after.any(dim=-1)
    changed = (before != after).any(dim=-1) & both
    return changed.sum(dim=-1).double() / both.sum(dim=-1)


@dataclass(frozen=True)
class ProblemSetResult:
    """The result of a model on one problem set.

    Attributes:
        macro_f1: Macro F1 in [0, 1]; NaN if no video counts (`strict=False`, all unscored).
        accuracy: Share of videos with exactly the true labels in [0, 1]; NaN as above.
        videos: Number of videos, including unscored ones.
        unscored: Number of videos with a candidate that lacks a score.
        ties: Number of scored videos whose prediction was decided by the order of the labels.
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
        rescaling: `none`, `video`, `label` or `both`, see `rescale_scores`.
        strict: Whether an unscored video counts as wrong: it does not predict a label, so its labels are missed.
            Otherwise it is left out. It is counted in `unscored` either way.

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
        raise ValueError(
            f"`scores`, `targets`: expected the same shape, got {tuple(scores.shape)} and {tuple(targets.shape)}."
        )
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
