"""A picture of what a policy learned in the grid of scalable oversight."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_vista.envs.oversight_drawing import draw_arrows, draw_grid, draw_trail
from lightning_vista.envs.oversight_gridworld import OversightGridworld, observe
from lightning_vista.envs.oversight_rollout import roll_out
from lightning_vista.models.pictures import tile_pictures


@torch.no_grad()
def draw_policy(policy: Any, actors: Sequence[str], size: int) -> Tensor:
    """Draw a policy with the ghost between the agent and the diamond, and nothing under oversight.

    Args:
        policy: Maps observations and `actor` to log-probabilities of moves, and has `act` and `device`, as
            `OversightPolicy`.
        actors: Each has a column: above, arrows for the moves in every cell; below, an episode, with dots where the
            agent came from.
        size: Rows and columns of the grid.

    Returns:
        uint8 `(height, width, 3)`.
    """
    diamond, ghost, start = size - 1, (size // 2) * (size + 1), (size - 1) * size
    columns = [
        (
            _arrows(partial(policy, actor=actor), diamond, ghost, size, policy.device),
            _episode(partial(policy.act, actor=actor), (start, diamond, ghost), size, policy.device),
        )
        for actor in actors
    ]
    rows = zip(*columns, strict=True)
    return tile_pictures([torch.stack(row).permute(0, 3, 1, 2) / 127.5 - 1 for row in rows])


def _arrows(policy: Callable[[Tensor], Tensor], diamond: int, ghost: int, size: int, device: torch.device) -> Tensor:
    cells = torch.arange(size**2)
    places = torch.stack([cells, torch.full_like(cells, diamond), torch.full_like(cells, ghost)], dim=1)
    observation = observe(places.to(device), torch.zeros(size**2, size**2, dtype=torch.bool, device=device))
    picture = draw_grid(size, None, diamond, ghost)
    draw_arrows(picture, policy(observation).exp(), [cell for cell in cells.tolist() if cell not in (diamond, ghost)])
    return picture


def _episode(act: Callable[..., Tensor], places: tuple[int, int, int], size: int, device: torch.device) -> Tensor:
    env = OversightGridworld(1, size, oversight_probability=0.0, device=device)
    env.reset(torch.tensor(places))
    _, diamond, ghost = places
    batch = roll_out(env, partial(act, generator=env.generator), env.horizon)
    steps = int((batch["outcome"][0] > 0).nonzero()[0])
    cells = batch["observation"][0, : steps + 1, : size**2].argmax(-1).tolist()
    picture = draw_grid(size, cells[0], diamond, ghost)
    draw_trail(picture, cells[1:])
    return picture
