"""Reward by a scorer for one environment."""

from typing import Any, SupportsFloat, TypeVar

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from lightning_vista.rewards.film import Film, Schedule
from lightning_vista.rewards.payment import Payment, RewardMode
from lightning_vista.rewards.video_judge import VideoJudge

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class JudgeReward(gymnasium.Wrapper[Observation, Action, Observation, Action], RecordConstructorArgs):
    """Wrapper that rewards an agent by a judge of the environment's rendered frames.

    The reward is 0 except where the judge judges: the whole episode at its end or, with `every` and `window`, also the
    last frames at a fixed interval. With `mode="potential"`, it is the growth of the score since the last judgement.
    `info["env_reward"]` keeps the environment's own reward.

    Args:
        env: Environment that renders RGB images: `render_mode="rgb_array"`.
        judge: Judge of the videos; environments may share it.
        every: Interval in steps at which to judge, too; None for the end of the episode only.
        window: Number of the last frames to judge; None for all since the reset.
        mode: `score`, or `potential` for differences of potentials, see `Payment`; the latter needs `every`.

    Raises:
        ValueError: If the environment does not render images, a number is below 1, or `mode` is unknown or does not fit
            the other arguments.

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
        mode: RewardMode = "score",
    ) -> None:
        # With these, `env.spec` can make the environment again, with the same judge.
        RecordConstructorArgs.__init__(self, judge=judge, every=every, window=window, mode=mode, _disable_deepcopy=True)
        gymnasium.Wrapper.__init__(self, env)
        check_render_mode(env.render_mode)
        self.judge = judge
        self._film = Film(Schedule(every, window))
        self._payment = Payment(judge, mode, self._film.schedule, num_films=1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode and its film."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._film.begin(self._frame())
        self._payment.begin({0: self._film})
        return observation, info

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Do an action, and reward it by the judge."""
        observation, env_reward, terminated, truncated, info = self.env.step(action)
        is_due = self._film.add(self._frame(), terminated or truncated)
        reward = float(self._payment.rewards({0: self._film})[0]) if is_due else 0.0
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
