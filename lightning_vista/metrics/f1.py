"""Macro F1 and accuracy of predicted label sets (ViSTa, section 4)."""

from torch import Tensor


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
