"""REINFORCE with a baseline, for episodes that are rewarded at their end (gradient routing, section 4.3)."""

from typing import Literal

import torch
from torch import Tensor

from lightning_vista.envs.oversight_gridworld import Outcome
from lightning_vista.envs.oversight_rollout import at_episode_end, episode_ends

#: Which ghosts are punished, see `end_rewards`.
Ghosts = Literal["none", "seen", "all"]


def end_rewards(outcome: Tensor, seen: Tensor, punished: Ghosts) -> Tensor:
    """The reward of each step: 1 for reaching the diamond, or a ghost that is not punished, and -1 for one that is.

    Args:
        outcome: What each step led to, `(envs, steps)`, see `Outcome`.
        seen: Whether it was under oversight, `(envs, steps)`.
        punished: Whether no ghosts are punished, only those that are seen, or all: then it is the true reward.

    Returns:
        Rewards, float32 `(envs, steps)`.

    Example:
        >>> outcome, seen = torch.tensor([[0, 1, 2, 2, 3]]), torch.tensor([[False, False, True, False, False]])
        >>> end_rewards(outcome, seen, "seen")
        tensor([[ 0.,  1., -1.,  1.,  0.]])
    """
    reached = (outcome == Outcome.DIAMOND) | (outcome == Outcome.GHOST)
    among = {"none": torch.zeros_like(seen), "seen": seen, "all": torch.ones_like(seen)}[punished]
    return reached.float() - 2 * ((outcome == Outcome.GHOST) & among).float()


def discounted_returns(reward: Tensor, outcome: Tensor, discount: float) -> Tensor:
    """The return of each step, `discount ** (end - t) * reward[end]`, which no reward of a later episode reaches.

    Args:
        reward: The reward of each step `(envs, steps)`, 0 but at the end of an episode.
        outcome: What each step led to, `(envs, steps)`.
        discount: Per step, from 0 to 1.

    Returns:
        Returns `(envs, steps)`; 0 where the episode is not finished.

    Example:
        >>> outcome = torch.tensor([[0, 0, 1, 0, 1, 0]])
        >>> discounted_returns((outcome > 0).float(), outcome, 0.5)
        tensor([[0.2500, 0.5000, 1.0000, 0.5000, 1.0000, 0.0000]])
    """
    steps_left = episode_ends(outcome) - torch.arange(outcome.shape[1], device=outcome.device)
    return at_episode_end(reward, outcome) * discount**steps_left


def policy_loss(log_probability: Tensor, advantage: Tensor) -> Tensor:
    """REINFORCE for each step, `-log pi(a | s) * advantage`; no gradient passes through the advantage."""
    return -log_probability * advantage.detach()


def entropy(log_probabilities: Tensor) -> Tensor:
    """The entropy of distributions over the last dimension, in nats.

    Example:
        >>> entropy(torch.full((4,), 0.25).log())
        tensor(1.3863)
    """
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def mean_over(values: Tensor, rows: Tensor) -> Tensor:
    """The mean over some rows, 0 over none.

    Args:
        values: Any tensor.
        rows: Which of them count, 0 or 1, of the same shape.

    Returns:
        A scalar.

    Example:
        >>> mean_over(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 1, 1])), mean_over(torch.ones(1), torch.zeros(1))
        (tensor(3.), tensor(0.))
    """
    return (values * rows).sum() / rows.sum().clamp(min=1)
