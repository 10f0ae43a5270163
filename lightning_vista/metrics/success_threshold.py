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
    levels, level = scores.unique(return_inverse=True)  # ascending
    midways = (levels[1:] + levels[:-1]) / 2
    candidates = torch.cat([levels[:1], torch.where(midways > levels[:-1], midways, levels[1:])])  # neighbouring floats
    # Number of successes and failures at each level and above, which the level's candidate accepts.
    rights, wrongs = (_at_least(level[side], len(levels)) for side in (succeeded, ~succeeded))
    balanced = rights * wrongs[0] - wrongs * rights[0]  # in whole numbers, so that equally good ones are equal
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


def cross_validate_threshold(scores: Tensor, succeeded: Tensor, is_second: Tensor) -> SuccessQuality | None:
    """Choose a threshold, and evaluate the choice on data without a validation split: by each half on the other one.

    Args:
        scores: Scores `(episodes,)`, any float type; NaN means unscored and is counted apart.
        succeeded: Whether each episode was a success `(episodes,)`, bool.
        is_second: Whether each episode is in the second half `(episodes,)`, bool.

    Returns:
        The threshold that all episodes together give; its counts are those of the halves' thresholds, each on the half
        that it was not chosen on. None if a half lacks scored successes or failures.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> scores, succeeded = torch.tensor([0.25, 0.75, 0.0, 0.5]), torch.tensor([False, True, False, True])
        >>> found = cross_validate_threshold(scores, succeeded, torch.tensor([False, False, True, True]))
        >>> found.threshold, found.confusion
        (0.375, ((1, 1), (0, 2)))
    """
    if is_second.shape != scores.shape or succeeded.shape != scores.shape:
        raise ValueError(
            "`scores`, `succeeded`, `is_second`: expected the same shape (episodes,), got "
            f"{tuple(scores.shape)}, {tuple(succeeded.shape)} and {tuple(is_second.shape)}."
        )
    known = ~scores.isnan()
    halves = [~is_second, is_second]
    if any(len(succeeded[half & known].unique()) < 2 for half in halves):
        return None
    thresholds = [choose_threshold(scores[half], succeeded[half]) for half in halves]
    confusion = torch.zeros(2, 2, dtype=torch.int64)
    for half, threshold in zip(halves, reversed(thresholds), strict=True):
        confusion += torch.tensor(evaluate_threshold(scores[half], succeeded[half], threshold).confusion)
    (rejected, wrong), (missed, accepted) = confusion.tolist()
    unscored = len(scores) - int(known.sum())
    return SuccessQuality(choose_threshold(scores, succeeded), ((rejected, wrong), (missed, accepted)), unscored)


def _at_least(levels: Tensor, num_levels: int) -> Tensor:
    """Return how many numbers are at each level or above it `(num_levels,)`, int64."""
    return levels.bincount(minlength=num_levels).flip(0).cumsum(0).flip(0)


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
