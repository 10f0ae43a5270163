"""A task in one home: things to go to in a fixed order, and where the robot may start."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from lightning_vista.envs.home_scene import INNER, Scene
from lightning_vista.envs.home_tiles import draw_scene
from lightning_vista.envs.pose import Pose
from lightning_vista.vista.mini.draft import equal_lengths
from lightning_vista.vista.mini.home_episode import IDLE, HomeEpisode, act_out
from lightning_vista.vista.mini.home_sets import SEEN, arrange, in_random_states, two_of_each
from lightning_vista.vista.mini.home_steps import GO_TO
from lightning_vista.vista.mini.steps import Step, describe

#: Poses that are tried as starts, and how many of them must do.
_POSES, _STARTS = 24, 12
_TRIES = 1000
#: In moves: what an episode has beyond the longest order, and by how much the right order may be longer or shorter than
#: the others, on average over orders and starts.
_SPARE, _UNFAIR = 8, 0.5


@dataclass(frozen=True)
class Task:
    """What an agent is to do.

    Attributes:
        home: The home; its robot stands at the first start.
        steps: Things to go to, in this order.
        starts: Where episodes begin; from each, every order of the steps can be played, with some moves to spare.
        horizon: The moves of an episode.
    """

    home: Scene
    steps: tuple[Step, ...]
    starts: tuple[Pose, ...]
    horizon: int

    @property
    def description(self) -> str:
        """The task in the words of the embedded dataset."""
        return describe(self.steps)

    def film(self, start: Pose, steps: Sequence[Step], rng: np.random.Generator) -> NDArray[np.uint8]:
        """What is seen of a robot that does some steps by the shortest ways, and waits after random ones for the rest.

        Args:
            start: One of the starts.
            steps: Some of the task's steps, in any order; without any it waits all the time.
            rng: Chooses after which steps it waits.

        Returns:
            RGB frames `(horizon + 1, 96, 96, 3)`, uint8.
        """
        home = replace(self.home, robot=start)
        parts = act_out(home, steps)
        if parts is None:
            raise ValueError(f"{describe(steps)}: expected steps of the task from one of its starts.")
        waiting = [[IDLE] * self.horizon]
        return HomeEpisode(home, equal_lengths([parts or [[]], waiting], IDLE, rng)[0]).frames()

    def frame(self, pose: Pose) -> NDArray[np.uint8]:
        """What is seen of a robot `(96, 96, 3)`, uint8; drawn once for each pose, since nothing else changes."""
        if pose not in self._drawn:
            self._drawn[pose] = draw_scene(replace(self.home, robot=pose))
            self._drawn[pose].setflags(write=False)
        return self._drawn[pose]

    @cached_property
    def _drawn(self) -> dict[Pose, NDArray[np.uint8]]:
        return {}


def sample_task(level: int, seed: int) -> Task:
    """Make a task that is as easy in any other order of its steps.

    The home is one of those that the shipped judges have been trained for: two things of each kind, in combinations of
    colour and kind that they have seen.

    Args:
        level: The number of steps, 2 or more.
        seed: All randomness comes from it.

    Returns:
        The task.

    Raises:
        ValueError: If the level is not 2 to 4: more steps have too many orders.
    """
    if not 2 <= level <= 4:
        raise ValueError(f"level: expected 2 to 4 steps, got {level}.")
    rng = np.random.default_rng([seed, level])
    for _ in range(_TRIES):
        task = _draw(level, rng)
        if task is not None:
            return task
    raise RuntimeError(f"No fair task of {level} steps in {_TRIES} homes.")


def _draw(level: int, rng: np.random.Generator) -> Task | None:
    """One try; None if there are too few starts, or the right order is easier or harder than the others."""
    home = arrange(in_random_states(two_of_each(SEEN, rng), rng), rng)
    things = [list(home.things)[index] for index in rng.permutation(len(home.things))[:level]]
    steps = tuple(Step(GO_TO, thing) for thing in things)
    horizon = 8 + 8 * level
    poses = [Pose(x, y, direction) for x, y in INNER if home.is_free((x, y)) for direction in range(4)]
    lengths: dict[Pose, list[int]] = {}
    for tried, index in enumerate(rng.permutation(len(poses))[:_POSES], start=1):
        found = _lengths(home, poses[index], steps, horizon - _SPARE)
        if found:
            lengths[poses[index]] = found
        if len(lengths) < tried - (_POSES - _STARTS):
            return None
    right, *others = np.mean(list(lengths.values()), axis=0)
    if abs(right - fmean(others)) > _UNFAIR:
        return None
    return Task(replace(home, robot=next(iter(lengths))), steps, tuple(lengths), horizon)


def _lengths(home: Scene, pose: Pose, steps: Sequence[Step], longest: int) -> list[int]:
    """The moves that each order of the steps takes from a pose, the right one first; none if one cannot be played."""
    lengths = []
    for order in permutations(steps):
        parts = act_out(replace(home, robot=pose), order)
        if parts is None or sum(map(len, parts)) > longest:
            return []
        lengths.append(sum(map(len, parts)))
    return lengths
