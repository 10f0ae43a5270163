"""Baselines on a problem set: the most frequent label, and a random label (ViSTa, section 4)."""

import torch
from torch import Tensor

from lightning_vista.metrics.aggregation import generator_for
from lightning_vista.metrics.scoring import ProblemSetResult, accuracy, macro_f1, predict_labels, score_problem_set

RANDOM_DRAWS = 1000
#: Numbers drawn at once, which bounds the memory for problem sets of any size.
_NUMBERS_AT_ONCE = 200_000


def majority_baseline(targets: Tensor) -> ProblemSetResult:
    """Predict the label that is true most often, for every video; with k true labels, the k most frequent.

    Args:
        targets: True labels `(videos, labels)`, bool.

    Returns:
        The result; among equally frequent labels the first one is predicted, and a tie is counted.

    Example:
        >>> majority_baseline(torch.tensor([[True, False], [True, False], [False, True]])).macro_f1
        0.4
    """
    frequencies = targets.sum(dim=0).double().expand(targets.shape)
    return score_problem_set(frequencies, targets, rescaling="none")


def random_baseline(targets: Tensor, problem_set: str, draws: int = RANDOM_DRAWS) -> ProblemSetResult:
    """Predict labels at random; with k true labels, k different ones.

    Args:
        targets: True labels `(videos, labels)`, bool.
        problem_set: Id of the problem set. It seeds the draws, so the figure does not depend on other problem sets.
        draws: Number of draws per video.

    Returns:
        The result, with the means over the draws as `macro_f1` and `accuracy`.

    Example:
        >>> round(random_baseline(torch.eye(2, dtype=torch.bool), "home/level_2/remix/a").accuracy, 1)
        0.5
    """
    targets, generator = targets.cpu(), generator_for(problem_set)
    at_once = max(1, _NUMBERS_AT_ONCE // targets.numel())
    f1s, accuracies = [], []
    for start in range(0, draws, at_once):
        shape = (min(at_once, draws - start), *targets.shape)
        scores = torch.rand(shape, generator=generator, dtype=torch.float64)
        predictions = predict_labels(scores, targets.sum(dim=1))
        f1s.append(macro_f1(predictions, targets))
        accuracies.append(accuracy(predictions, targets))
    return ProblemSetResult(
        macro_f1=torch.cat(f1s).mean().item(),
        accuracy=torch.cat(accuracies).mean().item(),
        videos=len(targets),
        unscored=0,
        ties=0,
    )
