"""A task in a home as a Gymnasium environment: symbolic observations, frames that look like the training videos."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lightning_vista.agents.outcomes import Happened, right_share
from lightning_vista.agents.task import Task
from lightning_vista.envs.home_scene import SIZE
from lightning_vista.envs.pose import Pose
from lightning_vista.vista.mini.reading import PAUSE

Observation = NDArray[np.float32]
#: The actions, as MiniGrid names them.
LEFT, RIGHT, FORWARD, WAIT = range(4)


class HomeTask(gymnasium.Env[Observation, np.int64]):
    """A robot that turns, walks and waits in a home; all episodes are equally long.

    As in the dataset, it has gone to a thing once it has walked and then stood still in front of it for two frames. So
    waiting takes two steps, of which the second does not heed the action: an agent finds out sooner what a stop is
    worth. The reward is the true one, at the end of the episode: the share of the task's steps that it did before the
    first one out of order. `info["arrivals"]` has the steps that it did so far, by number, in the order of their first
    times, and `info["faced"]` all that it has faced, in passing too.

    An observation has ones and zeros for the cell and direction of the robot, for how long it has stood still, and for
    the steps that it did, each with its place in their order; and the share of the episode that is over.

    Args:
        task: The home and what is to be done in it.
        render_mode: Frames are RGB images `(96, 96, 3)`, uint8.

    Example:
        >>> from lightning_vista.agents.task import sample_task
        >>> env = HomeTask(sample_task(level=2, seed=0))
        >>> observation, info = env.reset(seed=0)
        >>> env.step(np.int64(FORWARD))[1], env.render().shape
        (0.0, (96, 96, 3))
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012  as Gymnasium declares it

    def __init__(self, task: Task, render_mode: str = "rgb_array") -> None:
        self.task, self.render_mode = task, render_mode
        self._steps = {task.home.cell_of(step.thing): number for number, step in enumerate(task.steps)}
        size = SIZE * SIZE + 4 + PAUSE + 1 + len(task.steps) ** 2 + 1
        self.observation_space = gymnasium.spaces.Box(0, 1, (size,))
        self.action_space = gymnasium.spaces.Discrete(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Put the robot to one of the task's starts; `options["start"]` says to which, by number."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(len(self.task.starts)))
        self.robot = self.task.starts[(options or {}).get("start", drawn)]
        self.arrivals: Happened = ()
        self.faced: Happened = ()
        self._time, self._still, self._walked, self._waits = 0, 0, False, False
        return self._observe(), self._info()

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move, and look whether the robot has come to something."""
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
        """The home as it is now, an RGB image `(96, 96, 3)`, uint8."""
        return self.task.frame(self.robot)

    def _moved(self, action: int) -> Pose:
        """The pose after an action."""
        x, y, direction = self.robot
        if action == FORWARD and self.task.home.is_free(self.robot.ahead):
            x, y = self.robot.ahead
        return Pose(x, y, (direction + {LEFT: -1, RIGHT: 1}.get(action, 0)) % 4)

    def _look(self, step: int | None) -> None:
        """Note what the robot faces: the thing of a step, or None."""
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
