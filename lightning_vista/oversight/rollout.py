"""Roll-outs of a policy in the gridworld, and the losses of REINFORCE on them."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_vista.options import check_word
from lightning_vista.oversight.grid import Outcome, OversightGridworld

Batch = dict[str, Tensor]


@torch.no_grad()
def roll_out(env: OversightGridworld, act: Callable[[Tensor], Tensor], num_steps: int) -> Batch:
    """Let a policy act in all environments; the next roll-out resumes where this one ends.

    Args:
        env: Environments.
        act: Function from observations `(envs, features)` to actions `(envs,)`.
        num_steps: Number of steps.

    Returns:
        `observation` `(envs, steps, features)`; `action`, `outcome` and `seen` `(envs, steps)`, as returned by
        `OversightGridworld.step`; and `memberships`, see `episode_memberships`.
    """
    steps = []
    for _ in range(num_steps):
        observation = env.observation
        action = act(observation)
        steps.append((observation, action, *env.step(action)))
    names = ("observation", "action", "outcome", "seen")
    batch = {name: torch.stack(parts, dim=1) for name, parts in zip(names, zip(*steps, strict=True), strict=True)}
    return batch | {"memberships": episode_memberships(batch["outcome"], batch["seen"])}


def episode_ends(outcome: Tensor) -> Tensor:
    """Return the step at which the episode of each step ends.

    Args:
        outcome: `Outcome` of each step, `(envs, steps)`.

    Returns:
        Numbers of steps, int64 `(envs, steps)`; `steps` where the episode is unfinished.

    Example:
        >>> episode_ends(torch.tensor([[0, 1, 0, 0, 3, 0]]))
        tensor([[1, 1, 4, 4, 4, 6]])
    """
    steps = outcome.shape[1]
    # The next end is the smallest number of an ended step from here on: a cumulative minimum, read from the back.
    ends = torch.where(outcome > 0, torch.arange(steps, device=outcome.device), steps)
    return ends.flip(1).cummin(1).values.flip(1)


def at_episode_end(values: Tensor, outcome: Tensor) -> Tensor:
    """Return for each step the value at the end of its episode.

    Args:
        values: Value of each step, `(envs, steps)`.
        outcome: `Outcome` of each step, `(envs, steps)`.

    Returns:
        Values of the last step of each step's episode, `(envs, steps)`; 0 where the episode is unfinished.

    Example:
        >>> at_episode_end(torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 1, 2, 0]]))
        tensor([[6, 6, 7, 0]])
    """
    # The added column of zeros is the value at `steps`, the end of unfinished episodes.
    return torch.nn.functional.pad(values, (0, 1)).gather(1, episode_ends(outcome))


def episode_memberships(outcome: Tensor, seen: Tensor) -> Tensor:
    """Return the memberships of steps: their episode was seen to reach the diamond, or the ghost.

    Args:
        outcome: `Outcome` of each step, `(envs, steps)`.
        seen: Whether the step's outcome was under oversight, `(envs, steps)`.

    Returns:
        0 or 1 for diamond and ghost, float32 `(envs, steps, 2)`; unseen and unfinished episodes belong to neither.

    Example:
        >>> episode_memberships(torch.tensor([[0, 1, 2, 2]]), torch.tensor([[False, True, True, False]])).int().tolist()
        [[[1, 0], [1, 0], [0, 1], [0, 0]]]
    """
    ends = [(outcome == kind) & seen for kind in (Outcome.DIAMOND, Outcome.GHOST)]
    return torch.stack([at_episode_end(end.float(), outcome) for end in ends], dim=-1)


def first_outcomes(outcome: Tensor) -> Tensor:
    """Return the outcome of the first episode of each environment.

    Args:
        outcome: `Outcome` of each step, `(envs, steps)`.

    Returns:
        `Outcome` `(envs,)`; `NONE` where the episode is unfinished.

    Example:
        >>> first_outcomes(torch.tensor([[0, 2, 1], [0, 0, 0]]))
        tensor([2, 0])
    """
    return at_episode_end(outcome, outcome)[:, 0]


#: The ghosts that are punished, see `end_rewards`.
Ghosts = Literal["none", "seen", "all"]


def end_rewards(outcome: Tensor, seen: Tensor, punished: Ghosts) -> Tensor:
    """Return rewards: 1 for reaching the diamond or a ghost that is not punished, -1 for a punished ghost, else 0.

    Args:
        outcome: `Outcome` of each step, `(envs, steps)`.
        seen: Whether the step's outcome was under oversight, `(envs, steps)`.
        punished: Ghosts that are punished: none, only seen ones, or all, which gives the true reward.

    Returns:
        Rewards, float32 `(envs, steps)`.

    Example:
        >>> outcome, seen = torch.tensor([[0, 1, 2, 2, 3]]), torch.tensor([[False, False, True, False, False]])
        >>> end_rewards(outcome, seen, "seen")
        tensor([[ 0.,  1., -1.,  1.,  0.]])
    """
    check_word("punished", punished, get_args(Ghosts))
    reached = (outcome == Outcome.DIAMOND) | (outcome == Outcome.GHOST)
    among = {"none": torch.zeros_like(seen), "seen": seen, "all": torch.ones_like(seen)}[punished]
    return reached.float() - 2 * ((outcome == Outcome.GHOST) & among).float()


def discounted_returns(reward: Tensor, outcome: Tensor, discount: float) -> Tensor:
    """Return the return of each step, `discount ** (end - t) * reward[end]`, with the end of the step's own episode.

    Args:
        reward: Reward of each step `(envs, steps)`, 0 except at the end of an episode.
        outcome: `Outcome` of each step, `(envs, steps)`.
        discount: Discount per step, from 0 to 1.

    Returns:
        Returns `(envs, steps)`; 0 where the episode is unfinished.

    Example:
        >>> outcome = torch.tensor([[0, 0, 1, 0, 1, 0]])
        >>> discounted_returns((outcome > 0).float(), outcome, 0.5)
        tensor([[0.2500, 0.5000, 1.0000, 0.5000, 1.0000, 0.0000]])
    """
    steps_left = episode_ends(outcome) - torch.arange(outcome.shape[1], device=outcome.device)
    return at_episode_end(reward, outcome) * discount**steps_left


def policy_loss(log_probability: Tensor, advantage: Tensor) -> Tensor:
    """Return the REINFORCE loss of each step, `-log pi(a | s) * advantage`, without gradient through the advantage."""
    return -log_probability * advantage.detach()


def entropy(log_probabilities: Tensor) -> Tensor:
    """Return the entropy of distributions over the last dimension, in nats.

    Example:
        >>> entropy(torch.full((4,), 0.25).log())
        tensor(1.3863)
    """
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def mean_over(values: Tensor, rows: Tensor) -> Tensor:
    """Return the mean over some rows, or 0 if there are none.

    Args:
        values: Any tensor.
        rows: Mask of the values that count, 0 or 1, of the same shape.

    Returns:
        A scalar.

    Example:
        >>> mean_over(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 1, 1])), mean_over(torch.ones(1), torch.zeros(1))
        (tensor(3.), tensor(0.))
    """
    return (values * rows).sum() / rows.sum().clamp(min=1)
