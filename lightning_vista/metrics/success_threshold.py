"""Success of an episode from a reward: a threshold that is chosen on validation data and evaluated on others."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SuccessQuality:
    """Quality of a threshold on data that it was not chosen on.

    Attributes:
        threshold: Lowest score that counts as a success.
        confusion: Counts of episodes `((true negatives, false positives), (false negatives, true positives))`: rows are
            failures and successes, columns what the threshold says.
        unscored: Number of episodes without a score, which are not in `confusion`.
    """

    threshold: float
    confusion: tuple[tuple[int, int], tuple[int, int]]
    unscored: int

    @property
    def accuracy(self) -> float:
        """Share of the scored episodes that are told right."""
        (rejected, _), (_, accepted) = self.confusion
        return (rejected + accepted) / sum(map(sum, self.confusion))

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the shares of successes and of failures that are told right; .5 is chance level."""
        (rejected, wrong), (missed, accepted) = self.confusion
        return (rejected / (rejected + wrong) + accepted / (missed + accepted)) / 2

    @property
    def f1(self) -> float:
        """F1 of success."""
        (_, wrong), (missed, accepted) = self.confusion
        return 2 * accepted / (2 * accepted + wrong + missed)


def choose_threshold(scores: Tensor, succeeded: Tensor) -> float:
    """Choose the threshold with the highest balanced accuracy on validation data.

    Args:
        scores: Scores `(episodes,)`, any float type; NaN means unscored and is ignored.
        succeeded: Whether each episode was a success `(episodes,)`, bool.

    Returns:
        A number midway between two neighbouring scores; of equally good ones the lowest. If nothing is better than to
        accept everything, the lowest score.

    Raises:
        ValueError: If the shapes differ, or the scored episodes lack successes or failures.

    Example:
        >>> choose_threshold(torch.tensor([0.0, 0.25, 0.75, 1.0]), torch.tensor([False, False, True, True]))
        0.5
    """
    scores, succeeded = _known(scores, succeeded)
    levels = scores.unique()  # ascending
    candidates = torch.cat([levels[:1], (levels[1:] + levels[:-1]) / 2])
    accepted = scores >= candidates[:, None]  # (candidates, episodes)
    balanced = accepted[:, succeeded].double().mean(1) - accepted[:, ~succeeded].double().mean(1)
    return float(candidates[balanced.argmax()])  # argmax takes the first of equal ones


def evaluate_threshold(scores: Tensor, succeeded: Tensor, threshold: float) -> SuccessQuality:
    """Evaluate a threshold on test data.

    Args:
        scores: Scores `(episodes,)`, any float type; NaN means unscored and is counted apart.
        succeeded: Whether each episode was a success `(episodes,)`, bool.
        threshold: Lowest score that counts as a success, from `choose_threshold` on other data.

    Returns:
        The counts.

    Raises:
        ValueError: If the shapes differ, or the scored episodes lack successes or failures.

    Example:
        >>> scores, succeeded = torch.tensor([0.2, 0.7, 0.8]), torch.tensor([False, False, True])
        >>> evaluate_threshold(scores, succeeded, threshold=0.5).confusion
        ((1, 1), (0, 1))
    """
    known, truth = _known(scores, succeeded)
    accepted = known >= threshold
    rows = [(int((truth.eq(side) & ~accepted).sum()), int((truth.eq(side) & accepted).sum())) for side in (False, True)]
    return SuccessQuality(threshold, (rows[0], rows[1]), len(scores) - len(known))


def _known(scores: Tensor, succeeded: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scored episodes, float64, and their success."""
    if scores.shape != succeeded.shape or scores.ndim != 1:
        raise ValueError(
            "`scores`, `succeeded`: expected the same shape (episodes,), got "
            f"{tuple(scores.shape)} and {tuple(succeeded.shape)}."
        )
    known = ~scores.isnan()
    scores, succeeded = scores[known].double(), succeeded[known].bool()
    if succeeded.all() or not succeeded.any():
        raise ValueError(
            f"`succeeded`: expected scored successes and failures, got {int(succeeded.sum())} successes of "
            f"{len(succeeded)} episodes. Add episodes of the other kind."
        )
    return scores, succeeded
