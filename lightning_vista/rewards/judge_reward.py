"""The reward of a judge for one environment."""

from typing import Any, SupportsFloat, TypeVar

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from lightning_vista.rewards.film import Film, Schedule
from lightning_vista.rewards.video_judge import VideoJudge

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
