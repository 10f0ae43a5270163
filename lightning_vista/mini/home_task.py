"""Task in a home for an agent: its environment, its robot, and the outcomes of episodes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from statistics import fmean
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lightning_vista.mini.draft import equal_lengths
from lightning_vista.mini.home import SEEN, arrange_home, in_random_states, two_of_each
from lightning_vista.mini.home_episode import GO_TO, IDLE, HomeEpisode, act_out_home
from lightning_vista.mini.home_scene import INNER, SIZE, Scene, draw_scene
from lightning_vista.mini.pose import Pose
from lightning_vista.mini.steps import PAUSE, Step, describe
from lightning_vista.options import check_word

#: Numbers of steps, in the order in which they happened.
Happened = tuple[int, ...]


def right_share(arrivals: Happened, level: int) -> float:
    """Return the true reward: the share of the steps that were done before the first one out of order.

    Args:
        arrivals: Steps in the order of their first times.
        level: Number of steps of the task.

    Returns:
        A share from 0 to 1.

    Example:
        >>> [right_share(arrivals, 2) for arrivals in ((), (0,), (0, 1), (1, 0))]
        [0.0, 0.5, 1.0, 0.0]
    """
    return next((place for place, step in enumerate(arrivals) if step != place), len(arrivals)) / level


def outcome_shares(arrivals: Sequence[Happened], faced: Sequence[Happened], level: int) -> dict[str, float]:
    """Return the shares of the outcomes of episodes.

    Args:
        arrivals: Steps of each episode in the order of their first times; at least one episode.
        faced: Steps of each episode whose things were faced, even in passing, with repetitions.
        level: Number of steps of the task.

    Returns:
        Shares of the episodes. `success`, `wrong_order` (all steps, not in order), `some_steps` and `no_step` add up to
        1. `wrong_start` began with another step than the task's first one, whatever followed. `in_passing` is not a
        success, but a lenient viewer, who takes facing a thing in passing for going to it, would see the right order.

    Example:
        >>> shares = outcome_shares([(0, 1), (1, 0), (1,), ()], [(0, 1), (1, 0), (0, 1), ()], level=2)
        >>> shares["success"], shares["wrong_order"], shares["wrong_start"], shares["in_passing"]
        (0.25, 0.25, 0.5, 0.25)
    """
    right = tuple(range(level))
    found = {
        "success": [happened == right for happened in arrivals],
        "wrong_order": [len(happened) == level and happened != right for happened in arrivals],
        "some_steps": [0 < len(happened) < level for happened in arrivals],
        "no_step": [not happened for happened in arrivals],
        "wrong_start": [happened[:1] not in ((), (0,)) for happened in arrivals],
        "in_passing": [
            happened != right and _contains(seen, right) for happened, seen in zip(arrivals, faced, strict=True)
        ],
    }
    return {name: sum(episodes) / len(episodes) for name, episodes in found.items()}


def _contains(happened: Happened, steps: Happened) -> bool:
    """Check whether steps happened one after another, whatever else happened."""
    rest = iter(happened)
    return all(step in rest for step in steps)


#: Number of poses to try as starts, and the number that must be suitable.
_POSES, _STARTS = 24, 12
_TRIES = 1000
#: In moves: the spare time of an episode beyond the longest order, and the highest difference in length between the
#: right order and the others, on average over orders and starts.
_SPARE, _UNFAIR = 8, 0.5


@dataclass(frozen=True)
class Task:
    """Task of an agent.

    Attributes:
        home: Home, with its robot at the first start.
        steps: Steps to do in this order, each of which goes to a thing.
        starts: Starts of episodes. From each, every order of the steps is possible, with some moves to spare.
        horizon: Number of moves of an episode.
    """

    home: Scene
    steps: tuple[Step, ...]
    starts: tuple[Pose, ...]
    horizon: int

    @property
    def description(self) -> str:
        """Description of the task in the words of the embedded dataset."""
        return describe(self.steps)

    def film(self, start: Pose, steps: Sequence[Step], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Film a robot that does steps by the shortest ways, and spends the remaining time on waits after random steps.

        Args:
            start: One of the starts.
            steps: Some of the task's steps, in any order; without steps the robot waits.
            rng: Random generator of the waits.

        Returns:
            RGB frames `(horizon + 1, 96, 96, 3)`, uint8.

        Raises:
            ValueError: If the steps are impossible from this start.
        """
        home = replace(self.home, robot=start)
        parts = act_out_home(home, steps)
        if parts is None:
            raise ValueError(
                f"`steps`: expected steps of the task from one of its starts, got '{describe(steps)}' from {start}."
            )
        waiting = [[IDLE] * self.horizon]
        return HomeEpisode(home, equal_lengths([parts or [[]], waiting], IDLE, rng)[0]).frames()

    def frame(self, pose: Pose) -> NDArray[np.uint8]:
        """Draw the home with a robot `(96, 96, 3)`, uint8, once for each pose, since nothing else changes."""
        if pose not in self._drawn:
            self._drawn[pose] = draw_scene(replace(self.home, robot=pose))
            self._drawn[pose].setflags(write=False)
        return self._drawn[pose]

    @cached_property
    def _drawn(self) -> dict[Pose, NDArray[np.uint8]]:
        return {}


def sample_task(level: int, seed: int) -> Task:
    """Sample a task that is equally easy in all orders of its steps.

    The home is of the kind that the shipped scorers were trained for: two things of each kind, in seen combinations of
    colour and kind.

    Args:
        level: Number of steps, 2 to 4.
        seed: Random seed.

    Returns:
        The task.

    Raises:
        ValueError: If the level is not 2 to 4, since more steps have too many orders.
    """
    if not 2 <= level <= 4:
        raise ValueError(f"`level`: expected 2 to 4 steps, got {level}.")
    rng = np.random.default_rng([seed, level])
    for _ in range(_TRIES):
        task = _draw(level, rng)
        if task is not None:
            return task
    raise RuntimeError(f"`level`: expected a fair task of {level} steps in {_TRIES} homes, got none. Try another seed.")


def _draw(level: int, rng: np.random.Generator) -> Task | None:
    """Draw a task; None if it has too few starts, or its right order is easier or harder than the others."""
    home = arrange_home(in_random_states(two_of_each(SEEN, rng), rng), rng)
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
    """Return the number of moves of each order from a pose, the right one first; empty if one is impossible."""
    lengths = []
    for order in permutations(steps):
        parts = act_out_home(replace(home, robot=pose), order)
        if parts is None or sum(map(len, parts)) > longest:
            return []
        lengths.append(sum(map(len, parts)))
    return lengths


Observation = NDArray[np.float32]
#: The actions, as MiniGrid names them.
LEFT, RIGHT, FORWARD, WAIT = range(4)


class HomeTask(gymnasium.Env[Observation, np.int64]):
    """Environment with a robot that turns, walks and waits in a home, in equally long episodes.

    As in the dataset, the robot has gone to a thing once it has walked and then stood still in front of it for two
    frames. So waiting takes two steps, of which the second ignores the action: an agent learns sooner what a stop is
    worth. The reward is the true one, at the end of the episode: the share of the task's steps that were done before
    the first one out of order. `info["arrivals"]` contains the numbers of the steps so far, in the order of their first
    times, and `info["faced"]` the numbers of all faced things, even in passing.

    An observation encodes in ones and zeros the cell and direction of the robot, the time that it has stood still, and
    the steps so far, each with its place in their order. Its last number is the elapsed share of the episode.

    Args:
        task: Task with its home.
        render_mode: Mode `"rgb_array"`, for RGB images `(96, 96, 3)`, uint8.

    Example:
        >>> from lightning_vista.mini.home_task import sample_task
        >>> env = HomeTask(sample_task(level=2, seed=0))
        >>> observation, info = env.reset(seed=0)
        >>> env.step(np.int64(FORWARD))[1], env.render().shape
        (0.0, (96, 96, 3))
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012  as Gymnasium declares it

    def __init__(self, task: Task, render_mode: str = "rgb_array") -> None:
        check_word("render_mode", render_mode, self.metadata["render_modes"])
        self.task, self.render_mode = task, render_mode
        self._steps = {task.home.cell_of(step.thing): number for number, step in enumerate(task.steps)}
        size = SIZE * SIZE + 4 + PAUSE + 1 + len(task.steps) ** 2 + 1
        self.observation_space = gymnasium.spaces.Box(0, 1, (size,))
        self.action_space = gymnasium.spaces.Discrete(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Put the robot to one of the task's starts, optionally the one with the number `options["start"]`."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(len(self.task.starts)))
        self.robot = self.task.starts[(options or {}).get("start", drawn)]
        self.arrivals: Happened = ()
        self.faced: Happened = ()
        self._time, self._still, self._walked, self._waits = 0, 0, False, False
        return self._observe(), self._info()

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move the robot, and check whether it has gone to a thing."""
        # The second step of a wait ignores the action, so that every wait is as long as a stop must be.
        move = WAIT if self._waits else int(action)
        self._waits = move == WAIT and not self._waits
        before, self.robot = self.robot, self._moved(move)
        self._time += 1
        self._still = self._still + 1 if self.robot == before else 0
        self._walked |= self._still == 0
        self._look(self._steps.get(self.robot.ahead))
        is_over = self._time == self.task.horizon
        reward = right_share(self.arrivals, len(self._steps)) if is_over else 0.0
        return self._observe(), reward, is_over, False, self._info()

    def render(self) -> NDArray[np.uint8]:
        """Draw the current home, an RGB image `(96, 96, 3)`, uint8."""
        return self.task.frame(self.robot)

    def _moved(self, action: int) -> Pose:
        """Return the pose after an action."""
        x, y, direction = self.robot
        if action == FORWARD and self.task.home.is_free(self.robot.ahead):
            x, y = self.robot.ahead
        return Pose(x, y, (direction + {LEFT: -1, RIGHT: 1}.get(action, 0)) % 4)

    def _look(self, step: int | None) -> None:
        """Record the step whose thing the robot faces, or None."""
        if step is None:
            return
        if self.faced[-1:] != (step,):
            self.faced += (step,)
        if self._walked and self._still == PAUSE and step not in self.arrivals:
            self.arrivals += (step,)

    def _info(self) -> dict[str, Any]:
        return {"arrivals": self.arrivals, "faced": self.faced}

    def _observe(self) -> Observation:
        cell = np.zeros((SIZE, SIZE), np.float32)
        cell[self.robot.y, self.robot.x] = 1
        order = np.zeros((len(self._steps), len(self._steps)), np.float32)
        order[list(self.arrivals), range(len(self.arrivals))] = 1
        direction, still = np.eye(4, dtype=np.float32), np.eye(PAUSE + 1, dtype=np.float32)
        time = np.array([self._time / self.task.horizon], np.float32)
        parts = [cell.ravel(), direction[self.robot.direction], still[min(self._still, PAUSE)], order.ravel(), time]
        return np.concatenate(parts)
