"""The grid of scalable oversight, many at a time (gradient routing, section 4.3)."""

from enum import IntEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vista.oversight.drawing import MOVES, draw_grid


class Outcome(IntEnum):
    """What a step led to; all but `NONE` end the episode."""

    NONE = 0
    DIAMOND = 1
    GHOST = 2
    TIME_OUT = 3


class GridStep(NamedTuple):
    """What a step led to in each environment.

    Attributes:
        outcome: `Outcome`, int64 `(envs,)`.
        seen: Whether the diamond or ghost that was reached was under oversight, bool `(envs,)`.
    """

    outcome: Tensor
    seen: Tensor


class OversightGridworld:
    """Grids with an agent, a diamond and a ghost, each in a cell of its own; reaching either ends the episode.

    The agent sees which cells are under oversight. What happens in such a cell is known to whoever trains the agent;
    elsewhere they only know that something was reached. All environments step together, and those whose episode ended
    begin another one in the same call, without a loop over environments.

    Args:
        num_envs: The number of environments.
        size: Rows and columns of the grid, at least 2. All placements are kept, nearly `size ** 6`: 23 MB for a size of
            10.
        horizon: Steps after which an episode ends.
        oversight_probability: How often the diamond's cell, and independently the ghost's, is under oversight.
        spurious_oversight_probability: How often any other cell is.
        stale_observation: Whether the first action of an episode is chosen by the last observation of the one before,
            as in the authors' code.
        seed: Of everything random.
        device: Where all tensors are.

    Attributes:
        observation: What agents see now: four maps of the grid, one after the other, for agent, diamond, ghost and
            oversight; 0 or 1, float32 `(envs, 4 * size * size)`.
        places: The cells of agent, diamond and ghost, numbered row by row, int64 `(envs, 3)`.
        overseen: Which cells are under oversight, bool `(envs, size * size)`.
        age: Steps of the episode so far, int64 `(envs,)`.
        generator: Where all random numbers come from; policies may use it too.

    Raises:
        ValueError: If a size, the horizon or a probability is out of range.

    Example:
        >>> env = OversightGridworld(num_envs=2, size=5, oversight_probability=0.1)
        >>> env.observation.shape, env.step(torch.tensor([0, 3])).outcome.shape
        (torch.Size([2, 100]), torch.Size([2]))
    """

    def __init__(
        self,
        num_envs: int,
        size: int = 5,
        horizon: int = 32,
        oversight_probability: float = 0.03,
        spurious_oversight_probability: float = 0.0,
        stale_observation: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if num_envs < 1 or size < 2 or horizon < 1:
            raise ValueError(
                "Expected num_envs of at least 1, size of at least 2 and horizon of at least 1, got "
                f"{num_envs}, {size} and {horizon}."
            )
        chances = (float(oversight_probability), float(spurious_oversight_probability))
        if not all(0 <= chance <= 1 for chance in chances):
            raise ValueError(f"Expected probabilities of oversight from 0 to 1, got {chances[0]} and {chances[1]}.")
        self.num_envs, self.size, self.horizon = num_envs, size, horizon
        self.oversight_probability, self.spurious_oversight_probability = chances
        self.stale_observation = stale_observation
        self.generator = torch.Generator(device).manual_seed(seed)
        self._starts, self._moves = all_placements(size).to(device), move_table(size).to(device)
        self.reset()

    def reset(self, places: Tensor | None = None) -> None:
        """Begin an episode in every environment.

        Args:
            places: Where agent, diamond and ghost are to be, `(envs, 3)` or `(3,)`; anywhere by default.
        """
        self.places, self.overseen = self._draw(places)
        self.age = torch.zeros_like(self.places[:, 0])
        self.observation = self._observe()

    def step(self, action: Tensor) -> GridStep:
        """Move every agent; where that ends the episode, begin another one.

        Args:
            action: Index into `MOVES` for each environment, int64 `(envs,)`. A move into the wall does nothing.

        Returns:
            What it led to; `observation` is already that of the next episode where one ended.
        """
        agent = self._moves[self.places[:, 0], action]
        self.age = self.age + 1
        found = agent.unsqueeze(1) == self.places[:, 1:]
        outcome = torch.where(found.any(1), 1 + found[:, 1].long(), Outcome.TIME_OUT * (self.age >= self.horizon))
        seen = (found & self.overseen.gather(1, self.places[:, 1:])).any(1)
        self.places = torch.cat([agent.unsqueeze(1), self.places[:, 1:]], dim=1)
        if self.stale_observation:
            last = self._observe()
        ended = outcome > 0
        self._begin(ended)
        self.observation = self._observe()
        if self.stale_observation:
            self.observation = torch.where(ended.unsqueeze(1), last, self.observation)
        return GridStep(outcome, seen)

    def render(self, index: int = 0) -> Tensor:
        """A picture of one environment, uint8 `(height, width, 3)` on the CPU."""
        agent, diamond, ghost = self.places[index].tolist()
        return draw_grid(self.size, agent, diamond, ghost, self.overseen[index].nonzero().flatten().tolist())

    def state_dict(self) -> dict[str, Any]:
        """All that the future depends on."""
        names = ("places", "overseen", "age", "observation")
        return {name: getattr(self, name) for name in names} | {"generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another one was.

        Raises:
            ValueError: If it had another number of environments, or another size.
        """
        if state_dict["observation"].shape != self.observation.shape:
            raise ValueError(
                f"Expected the state of {self.num_envs} grids of size {self.size}, got observations of shape "
                f"{tuple(state_dict['observation'].shape)}: use the number and size that the run began with."
            )
        for name in ("places", "overseen", "age", "observation"):
            setattr(self, name, state_dict[name].to(self.places.device))
        self.generator.set_state(state_dict["generator"].cpu())

    def _draw(self, places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Places, where not given, and oversight of a new episode in every environment."""
        device = self._starts.device
        if places is None:
            number = torch.randint(len(self._starts), (self.num_envs,), generator=self.generator, device=device)
            places = self._starts[number]
        places = places.to(device).expand(self.num_envs, 3)
        chance = torch.full((self.num_envs, self.size**2), self.spurious_oversight_probability, device=device)
        chance.scatter_(1, places[:, 1:], self.oversight_probability)
        return places, torch.rand(chance.shape, generator=self.generator, device=device) < chance

    def _begin(self, ended: Tensor) -> None:
        """Begin another episode where one ended; drawing for all is faster than looking for these."""
        places, overseen = self._draw()
        self.places = torch.where(ended.unsqueeze(1), places, self.places)
        self.overseen = torch.where(ended.unsqueeze(1), overseen, self.overseen)
        self.age = torch.where(ended, 0, self.age)

    def _observe(self) -> Tensor:
        return observe(self.places, self.overseen)


def observe(places: Tensor, overseen: Tensor) -> Tensor:
    """What an agent sees.

    Args:
        places: The cells of agent, diamond and ghost, `(..., 3)`.
        overseen: Which cells are under oversight, `(..., cells)`.

    Returns:
        Maps of agent, diamond, ghost and oversight, float32 `(..., 4 * cells)`.

    Example:
        >>> observe(torch.tensor([0, 1, 3]), torch.tensor([False, True, False, False])).view(4, 2, 2).int().tolist()
        [[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [0, 1]], [[0, 1], [0, 0]]]
    """
    cells = overseen.shape[-1]
    maps = torch.zeros(*places.shape[:-1], 4 * cells, device=places.device)
    maps.scatter_(-1, places + torch.arange(0, 3 * cells, cells, device=places.device), 1.0)
    maps[..., 3 * cells :] = overseen
    return maps


def all_placements(size: int) -> Tensor:
    """Every way to put agent, diamond and ghost into different cells.

    Args:
        size: Rows and columns of the grid.

    Returns:
        Cells, int64 `(placements, 3)`.

    Example:
        >>> len(all_placements(5))  # 25 * 24 * 23
        13800
    """
    cells = torch.arange(size**2)
    triples = torch.cartesian_prod(cells, cells, cells)
    agent, diamond, ghost = triples.unbind(1)
    return triples[(agent != diamond) & (agent != ghost) & (diamond != ghost)]


def move_table(size: int) -> Tensor:
    """Where each move leads from each cell.

    Args:
        size: Rows and columns of the grid.

    Returns:
        Cells, int64 `(cells, moves)`.

    Example:
        >>> move_table(2)
        tensor([[0, 2, 0, 1],
                [1, 3, 0, 1],
                [0, 2, 2, 3],
                [1, 3, 2, 3]])
    """
    cells = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    rows, columns = (cells.unsqueeze(1) + torch.tensor(MOVES)).clamp(0, size - 1).unbind(-1)
    return rows * size + columns
