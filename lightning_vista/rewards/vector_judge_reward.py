"""Reward by a judge for many environments at once, with one call per step."""

from typing import Any, SupportsFloat, TypeVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from lightning_vista.rewards.film import Film, Schedule
from lightning_vista.rewards.judge_reward import check_render_mode
from lightning_vista.rewards.payment import Payment, RewardMode
from lightning_vista.rewards.video_judge import VideoJudge

Observation = TypeVar("Observation")
Action = TypeVar("Action")
Array = NDArray[Any]
_FRAME = "frame"


class VectorJudgeReward(VectorWrapper[Observation, Action, Observation, Action, Array]):
    """`JudgeReward` for a vector environment, with any autoreset mode of Gymnasium.

    The last frame of an episode belongs to its film, and the frame of the next reset to the next film. With
    `AutoresetMode.SAME_STEP`, an environment resets before it can render its last frame: wrap its sub-environments in
    `FrameInInfo`.

    Args:
        env: Vector environment that renders RGB images.
        judge: Judge of the videos, which judges all environments in one call.
        every: Interval in steps, see `JudgeReward`.
        window: Number of frames, see `JudgeReward`.
        mode: `score` or `potential`, see `JudgeReward`.

    Raises:
        ValueError: If the environment does not render images, its autoreset mode is unknown, a number is below 1, or
            `mode` is unknown or does not fit the other arguments.
    """

    def __init__(
        self,
        env: VectorEnv[Observation, Action, Array],
        judge: VideoJudge,
        every: int | None = None,
        window: int | None = None,
        mode: RewardMode = "score",
    ) -> None:
        super().__init__(env)
        check_render_mode(env.render_mode)
        if not isinstance(env.metadata.get("autoreset_mode"), AutoresetMode):
            raise ValueError(
                f"`env`: expected an AutoresetMode in metadata['autoreset_mode'], got "
                f"{env.metadata.get('autoreset_mode')!r} in {env}. Set the mode that it follows."
            )
        self.judge = judge
        self.mode = env.metadata["autoreset_mode"]
        schedule = Schedule(every, window)
        self._films = [Film(schedule) for _ in range(env.num_envs)]
        self._payment = Payment(judge, mode, schedule, env.num_envs)
        self._ended = np.zeros(env.num_envs, bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin all episodes, or those of `options["reset_mask"]`."""
        begun = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        observations, infos = self.env.reset(seed=seed, options=options)
        self._ended = self._ended & ~begun
        self._begin(begun)
        return observations, infos

    def step(self, actions: Action) -> tuple[Observation, Array, Array, Array, dict[str, Any]]:
        """Do an action in each environment, and reward it by the judge."""
        observations, env_rewards, terminated, truncated, infos = self.env.step(actions)
        # With NEXT_STEP, the step after an episode's end ignores the action and resets: its frame begins the next film.
        begun = self._ended if self.mode is AutoresetMode.NEXT_STEP else np.zeros(self.num_envs, bool)
        self._ended = terminated | truncated
        frames = self._last_frames(infos)
        due = [int(i) for i in np.flatnonzero(~begun) if self._films[i].add(frames[i], self._ended[i])]
        rewards = np.zeros(self.num_envs)
        if due:
            rewards[due] = self._payment.rewards({i: self._films[i] for i in due})
        # With SAME_STEP, environments have already been reset, and render the first frame of the next episode.
        self._begin(self._ended if self.mode is AutoresetMode.SAME_STEP else begun)
        every_one = np.ones(self.num_envs, bool)
        return (
            observations,
            rewards,
            terminated,
            truncated,
            {**infos, "env_reward": env_rewards, "_env_reward": every_one},
        )

    def _begin(self, begun: NDArray[np.bool_]) -> None:
        """Begin the films of environments that have been reset."""
        if begun.any():
            frames = self._render()
            for i in np.flatnonzero(begun):
                self._films[i].begin(frames[i])
            self._payment.begin({int(i): self._films[i] for i in np.flatnonzero(begun)})

    def _last_frames(self, infos: dict[str, Any]) -> Any:
        """Return the frame of each environment after its step and before its reset."""
        if self.mode is not AutoresetMode.SAME_STEP or not self._ended.any():
            return self._render()
        if _FRAME not in infos.get("final_info", {}):
            raise ValueError(
                f"`infos`: expected an episode's last frame as {_FRAME!r} in 'final_info', got none, and with "
                "AutoresetMode.SAME_STEP it can no longer be rendered. Wrap the sub-environments in FrameInInfo, or "
                "use another mode."
            )
        last, now = infos["final_info"][_FRAME], self._render()
        return [last[i] if self._ended[i] else now[i] for i in range(self.num_envs)]

    def _render(self) -> Any:  # Gymnasium does not type frames; `rgb_array` is checked
        return self.env.render()


class FrameInInfo(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Wrapper that adds the rendered frame as `info["frame"]`, for `VectorJudgeReward` with `AutoresetMode.SAME_STEP`.

    Args:
        env: Environment that renders RGB images.
    """

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Do an action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, _FRAME: self.env.render()}
