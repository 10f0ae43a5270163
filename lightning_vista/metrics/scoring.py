"""From scores to predictions, accuracy and macro F1."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_vista.metrics.rescaling import Rescaling, rescale_scores


def macro_f1(predictions: Tensor, targets: Tensor) -> Tensor:
    """Macro F1: the mean, over the labels that are true or predicted of any video, of 2 TP / (2 TP + FP + FN).

    Args:
        predictions: Predicted labels `(..., videos, labels)`, bool; leading dimensions are separate predictions.
        targets: True labels `(..., videos, labels)`, bool, broadcast against `predictions`.

    Returns:
        Macro F1 `(...)`, float64 in [0, 1]; a label never hit counts 0. NaN where no label is true or predicted.

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
    """The share of videos whose predicted labels are exactly the true ones.

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
        scores: Scores `(..., videos, labels)`, any float type; NaN is unscored.
        num_labels: How many labels each video has: one number, or `(videos,)` integers (multi-label problem sets).

    Returns:
        Predictions `(..., videos, labels)`, bool. Between equal scores the label listed first wins; a video with any
        NaN predicts nothing.

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
    """Count the videos whose prediction was settled by the order of the labels.

    Args:
        scores: Scores `(videos, labels)`, any float type; NaN is unscored.
        num_labels: How many labels each video has: one number, or `(videos,)` integers.

    Returns:
        The number of scored videos whose last predicted and first unpredicted label have equal scores.

    Example:
        >>> count_ties(torch.tensor([[0.7, 0.7, 0.1], [0.7, 0.1, 0.1]]))
        1
    """
    predicted = predict_labels(scores, num_labels)
    last_in = scores.masked_fill(~predicted, torch.inf).amin(dim=-1)
    first_out = scores.masked_fill(predicted, -torch.inf).amax(dim=-1)
    return int((last_in == first_out).sum())


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
