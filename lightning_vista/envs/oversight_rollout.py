"""Roll-outs of a policy in the grid of scalable oversight, with what an overseer knows of each episode."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_vista.envs.oversight_gridworld import Outcome, OversightGridworld

Batch = dict[str, Tensor]


@torch.no_grad()
def roll_out(env: OversightGridworld, act: Callable[[Tensor], Tensor], num_steps: int) -> Batch:
    """Let a policy act in all environments; what comes next goes on from here.

    Args:
        env: The environments.
        act: Maps observations `(envs, features)` to actions `(envs,)`.
        num_steps: The number of steps.

    Returns:
        `observation` `(envs, steps, features)`; `action`, `outcome` (see `Outcome`) and `seen` `(envs, steps)`, as
        `OversightGridworld.step` tells them; and `memberships`, see `episode_memberships`.
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
    """When the episode of each step ends.

    Args:
        outcome: What each step led to, `(envs, steps)`.

    Returns:
        The number of the step, int64 `(envs, steps)`; `steps` where the episode is not finished.

    Example:
        >>> episode_ends(torch.tensor([[0, 1, 0, 0, 3, 0]]))
        tensor([[1, 1, 4, 4, 4, 6]])
    """
    steps = outcome.shape[1]
    ends = torch.where(outcome > 0, torch.arange(steps, device=outcome.device), steps)
    return ends.flip(1).cummin(1).values.flip(1)


def at_episode_end(values: Tensor, outcome: Tensor) -> Tensor:
    """What a step is told at the end of its episode.

    Args:
        values: A value of each step, `(envs, steps)`.
        outcome: What each step led to, `(envs, steps)`.

    Returns:
        The value of the last step of each step's episode, `(envs, steps)`; 0 where the episode is not finished.

    Example:
        >>> at_episode_end(torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 1, 2, 0]]))
        tensor([[6, 6, 7, 0]])
    """
    return torch.nn.functional.pad(values, (0, 1)).gather(1, episode_ends(outcome))


def episode_memberships(outcome: Tensor, seen: Tensor) -> Tensor:
    """Which steps belong to an episode that was seen to reach the diamond, or the ghost.

    Args:
        outcome: What each step led to, `(envs, steps)`.
        seen: Whether it was under oversight, `(envs, steps)`.

    Returns:
        0 or 1 for diamond and ghost, float32 `(envs, steps, 2)`; unseen and unfinished episodes belong to neither.

    Example:
        >>> episode_memberships(torch.tensor([[0, 1, 2, 2]]), torch.tensor([[False, True, True, False]])).int().tolist()
        [[[1, 0], [1, 0], [0, 1], [0, 0]]]
    """
    ends = [(outcome == kind) & seen for kind in (Outcome.DIAMOND, Outcome.GHOST)]
    return torch.stack([at_episode_end(end.float(), outcome) for end in ends], dim=-1)


def first_outcomes(outcome: Tensor) -> Tensor:
    """How the first episode of each environment ended.

    Args:
        outcome: What each step led to, `(envs, steps)`.

    Returns:
        `Outcome` `(envs,)`; `NONE` where it is not finished.

    Example:
        >>> first_outcomes(torch.tensor([[0, 2, 1], [0, 0, 0]]))
        tensor([2, 0])
    """
    return at_episode_end(outcome, outcome)[:, 0]
