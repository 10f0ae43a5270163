"""Gymnasium's vector environments as Stable-Baselines3 wants them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

Array = NDArray[Any]


class GymnasiumVecEnv(VecEnv):
    """A vector environment that leaves resetting to its user, as a `VecEnv`, which resets what has ended.

    Args:
        envs: A vector environment with `AutoresetMode.DISABLED`.

    Raises:
        ValueError: If it has another mode.
    """

    def __init__(self, envs: VectorEnv[Array, Array, Array]) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.DISABLED:
            raise ValueError(f"Expected a vector environment with AutoresetMode.DISABLED, got {mode}.")
        self.envs = envs
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> Array:
        """Reset all environments, with the seeds that `seed` has set."""
        seeds: Any = self._seeds  # Gymnasium takes a list too, though wrappers do not say so
        observations, _ = self.envs.reset(seed=seeds)
        self._reset_seeds()
        return observations

    def step_async(self, actions: Array) -> None:
        """Take the actions of the next step."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Do the step, and reset what has ended by it."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        ended = terminated | truncated
        listed = [_info_of(infos, number) for number in range(self.num_envs)]
        for number in np.flatnonzero(ended):
            listed[number]["terminal_observation"] = observations[number]
            listed[number]["TimeLimit.truncated"] = bool(truncated[number] and not terminated[number])
        if ended.any():
            observations, _ = self.envs.reset(options={"reset_mask": ended})
        return observations, rewards, ended, listed

    def get_images(self) -> Sequence[NDArray[np.uint8]]:
        """What each environment shows now, RGB `(height, width, 3)`."""
        frames: Any = self.envs.render()  # Gymnasium leaves open what is rendered
        return list(frames)

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the vector environment, once for each index."""
        return [getattr(self.envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the vector environment."""
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """What a method of the vector environment returns, which is called once, for each index."""
        returned = getattr(self.envs, method_name)(*args, **kwargs)
        return [returned for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """No wrapper of Stable-Baselines3 is inside."""
        return [False for _ in self._get_indices(indices)]


def _info_of(infos: dict[str, Any], number: int) -> dict[str, Any]:
    """What a vector environment says of one of its environments; nested dictionaries are left out."""
    named: Sequence[str] = [name for name in infos if f"_{name}" in infos and not isinstance(infos[name], dict)]
    return {name: infos[name][number] for name in named if infos[f"_{name}"][number]}
