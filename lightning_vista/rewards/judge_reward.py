"""The reward of a scorer for one environment, and the film that it watches."""

from collections import deque
from dataclasses import dataclass
from typing import Any, SupportsFloat, TypeVar

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from lightning_vista.rewards.video_judge import VideoJudge

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Schedule:
    """When an episode is judged: at its end, and every so many steps before.

    Attributes:
        every: How many steps; None for its end only.
        window: How many of the last frames; None for all since its beginning.

    Raises:
        ValueError: If a number is below 1.
    """

    every: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("every", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}; leave it out for the whole episode.")


class Film:
    """What an environment has shown since its last reset.

    Args:
        schedule: When it is to be judged.

    Example:
        >>> film = Film(Schedule(every=2, window=3))
        >>> film.begin(np.zeros((4, 4, 3), np.uint8))
        >>> [film.add(np.full((4, 4, 3), step, np.uint8), ended=step == 5) for step in range(1, 6)]
        [False, True, False, True, True]
        >>> [int(frame[0, 0, 0]) for frame in film.frames]
        [3, 4, 5]
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.frames: deque[Image] = deque(maxlen=schedule.window)
        self.steps = 0

    def begin(self, frame: Image) -> None:
        """Forget the last episode; the first frame of the next one is here."""
        self.frames.clear()
        self.frames.append(_kept(frame))
        self.steps = 0

    def add(self, frame: Image, ended: bool) -> bool:
        """Add the frame after a step; returns whether the film is to be judged now."""
        self.frames.append(_kept(frame))
        self.steps += 1
        return ended or (self.schedule.every is not None and self.steps % self.schedule.every == 0)


def _kept(frame: Image) -> Image:
    """The frame as it is now: some environments draw all frames into one array. What is read-only stays so."""
    return frame.copy() if frame.flags.writeable else frame


Observation = TypeVar("Observation")
Action = TypeVar("Action")


class JudgeReward(gymnasium.Wrapper[Observation, Action, Observation, Action], RecordConstructorArgs):
    """Replaces an environment's reward by what a judge says of the frames that it renders.

    The reward is 0 but where the judge is asked: at the end of an episode about all of it or, with `every` and
    `window`, also every so many steps about the last frames. `info["env_reward"]` keeps the environment's own.

    Args:
        env: Any environment that renders RGB images: `render_mode="rgb_array"`.
        judge: What is asked; environments may share it.
        every: Ask every so many steps too; None for the end only.
        window: Show the last so many frames only; None for all since the reset.

    Raises:
        ValueError: If the environment renders no images, or a number is below 1.

    Example:
        >>> import minigrid
        >>> from lightning_vista.scorers import RandomScorer
        >>> env = gymnasium.make("MiniGrid-Empty-5x5-v0", render_mode="rgb_array", max_steps=2)
        >>> env = JudgeReward(env, VideoJudge(RandomScorer(), "We go to the green square"))
        >>> _ = env.reset(seed=0)
        >>> [env.step(0)[1] > 0 for _ in range(2)]
        [False, True]
    """

    def __init__(
        self,
        env: gymnasium.Env[Observation, Action],
        judge: VideoJudge,
        every: int | None = None,
        window: int | None = None,
    ) -> None:
        # So that `env.spec` can make the environment again, with the same judge.
        RecordConstructorArgs.__init__(self, judge=judge, every=every, window=window, _disable_deepcopy=True)
        gymnasium.Wrapper.__init__(self, env)
        check_render_mode(env.render_mode)
        self.judge = judge
        self._film = Film(Schedule(every, window))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode, and its film."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._film.begin(self._frame())
        return observation, info

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Do an action; the reward is the judge's."""
        observation, env_reward, terminated, truncated, info = self.env.step(action)
        is_due = self._film.add(self._frame(), terminated or truncated)
        reward = float(self.judge.rewards([self._film.frames])[0]) if is_due else 0.0
        return observation, reward, terminated, truncated, {**info, "env_reward": float(env_reward)}

    def _frame(self) -> Any:  # Gymnasium leaves open what is rendered; `rgb_array` is checked
        return self.env.render()


def check_render_mode(render_mode: str | None) -> None:
    """Raise a `ValueError` unless an environment renders RGB images."""
    if render_mode != "rgb_array":
        raise ValueError(
            f"A judge looks at RGB frames, but this environment has render_mode={render_mode!r}: "
            'make it with render_mode="rgb_array".'
        )
