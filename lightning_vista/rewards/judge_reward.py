"""Reward by a scorer for one environment, and the film that the scorer sees."""

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
    """Schedule of judging an episode: at its end, and optionally at a fixed interval before.

    Attributes:
        every: Interval in steps; None for the end of the episode only.
        window: Number of the last frames to judge; None for all since the reset.

    Raises:
        ValueError: If a number is below 1.
    """

    every: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("every", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}`: expected at least 1, got {value}. Omit it for the whole episode.")


class Film:
    """Frames of an environment since its last reset.

    Args:
        schedule: Schedule of judging the film.

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
        """Begin the film of an episode with its first frame."""
        self.frames.clear()
        self.frames.append(_kept(frame))
        self.steps = 0

    def add(self, frame: Image, ended: bool) -> bool:
        """Add the frame after a step, and return whether to judge the film now."""
        self.frames.append(_kept(frame))
        self.steps += 1
        return ended or (self.schedule.every is not None and self.steps % self.schedule.every == 0)


def _kept(frame: Image) -> Image:
    """Return a frame that stays as it is: some environments draw all frames into one array."""
    return frame.copy() if frame.flags.writeable else frame


Observation = TypeVar("Observation")
Action = TypeVar("Action")


class JudgeReward(gymnasium.Wrapper[Observation, Action, Observation, Action], RecordConstructorArgs):
    """Wrapper that rewards an agent by a judge of the environment's rendered frames.

    The reward is 0 except where the judge judges: the whole episode at its end or, with `every` and `window`, also the
    last frames at a fixed interval. `info["env_reward"]` keeps the environment's own reward.

    Args:
        env: Environment that renders RGB images: `render_mode="rgb_array"`.
        judge: Judge of the videos; environments may share it.
        every: Interval in steps at which to judge, too; None for the end of the episode only.
        window: Number of the last frames to judge; None for all since the reset.

    Raises:
        ValueError: If the environment does not render images, or a number is below 1.

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
        # With these, `env.spec` can make the environment again, with the same judge.
        RecordConstructorArgs.__init__(self, judge=judge, every=every, window=window, _disable_deepcopy=True)
        gymnasium.Wrapper.__init__(self, env)
        check_render_mode(env.render_mode)
        self.judge = judge
        self._film = Film(Schedule(every, window))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode and its film."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._film.begin(self._frame())
        return observation, info

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Do an action, and reward it by the judge."""
        observation, env_reward, terminated, truncated, info = self.env.step(action)
        is_due = self._film.add(self._frame(), terminated or truncated)
        reward = float(self.judge.rewards([self._film.frames])[0]) if is_due else 0.0
        return observation, reward, terminated, truncated, {**info, "env_reward": float(env_reward)}

    def _frame(self) -> Any:  # Gymnasium does not type frames; `rgb_array` is checked
        return self.env.render()


def check_render_mode(render_mode: str | None) -> None:
    """Raise a `ValueError` unless an environment renders RGB images."""
    if render_mode != "rgb_array":
        raise ValueError(
            f"`render_mode`: expected 'rgb_array', since a scorer needs RGB frames, got {render_mode!r}. "
            'Make the environment with render_mode="rgb_array".'
        )
