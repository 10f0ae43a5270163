"""From scores to predicted labels: the highest wins, a tie goes to the label listed first (ViSTa, section 4)."""

import torch
from torch import Tensor


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
