"""Agent that learns by PPO from the reward of a vector environment."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn
from torch.optim import Optimizer

from lightning_vista.drawing.boards import log_picture
from lightning_vista.drawing.pictures import tile_pictures
from lightning_vista.files.run_files import run_files
from lightning_vista.mini.home_task import outcome_shares
from lightning_vista.optional import require

Array = NDArray[Any]


class GymnasiumVecEnv(VecEnv):
    """Gymnasium's vector environment as a `VecEnv` of Stable-Baselines3, which resets ended episodes itself.

    Args:
        envs: Vector environment with `AutoresetMode.DISABLED`.

    Raises:
        ValueError: If the environment has another mode.
    """

    def __init__(self, envs: VectorEnv[Array, Array, Array]) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.DISABLED:
            raise ValueError(
                f"`envs`: expected AutoresetMode.DISABLED, got {mode}. Make the environments with that mode."
            )
        self.envs = envs
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> Array:
        """Reset all environments, with the seeds set by `seed`."""
        seeds: Any = self._seeds  # Gymnasium also takes a list, although the types of wrappers differ
        observations, _ = self.envs.reset(seed=seeds)
        self._reset_seeds()
        return observations

    def step_async(self, actions: Array) -> None:
        """Take the actions of the next step."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Do the step, and reset the environments whose episode ended."""
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
        """Return the current frame of each environment, RGB `(height, width, 3)`."""
        frames: Any = self.envs.render()  # Gymnasium does not type frames
        return list(frames)

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the vector environment, once for each index."""
        return [getattr(self.envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the vector environment."""
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call a method of the vector environment once, and return its result for each index."""
        returned = getattr(self.envs, method_name)(*args, **kwargs)
        return [returned for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """Return False: Stable-Baselines3 has not wrapped these environments."""
        return [False for _ in self._get_indices(indices)]


def _info_of(infos: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the info of one environment of a vector environment, without nested dictionaries."""
    named: Sequence[str] = [name for name in infos if f"_{name}" in infos and not isinstance(infos[name], dict)]
    return {name: infos[name][number] for name in named if infos[f"_{name}"][number]}


_FRAMES, _COLUMNS = 10, 4
_MILLISECONDS = 200


def log_behaviour(trainer: L.Trainer, films: NDArray[np.uint8]) -> None:
    """Write `behaviour.png`, with episodes as rows of frames, and `behaviour_moving.png`, which plays them.

    The second is an animated PNG. Browsers play it, and other programs show its first frame.

    Args:
        trainer: The trainer of the run.
        films: RGB frames `(frames, episodes, height, width, 3)`, uint8.
    """
    if not trainer.is_global_zero:
        return
    images = torch.from_numpy(films).permute(1, 0, 4, 2, 3) / 127.5 - 1  # (episodes, frames, 3, height, width)
    chosen = np.linspace(0, len(films) - 1, _FRAMES).round().astype(int)
    log_picture(trainer, "behaviour", tile_pictures(list(images[:, chosen])))
    moments = [tile_pictures(moment.split(_COLUMNS)).numpy() for moment in images.transpose(0, 1)]
    first, *others = [require("PIL.Image", "rl").fromarray(moment) for moment in moments]
    path = run_files(trainer) / "behaviour_moving.png"
    first.save(path, save_all=True, append_images=others, duration=_MILLISECONDS, loop=0)


_SHOWN = 8
#: Offset of the seeds of tests, which keeps them apart from those of training.
_TEST = 2**20


class PPOAgent(L.LightningModule):
    """Agent that learns in the environments of a `HomeTaskDataModule`, with one update per batch.

    An update plays one episode in each environment and takes gradient steps on them, both by Stable-Baselines3. Each
    update has a random seed of its own, so that a resumed run equals an uninterrupted one. Actions are sampled, in
    tests as in training.

    A test logs `test/success` and the other outcomes of `outcome_shares`, `test/reward`, and `test/reward/<script>` for
    scripted robots. `behaviour.png` shows episodes as rows of frames, and `behaviour_moving.png` plays them.

    Args:
        learning_rate: Adam learning rate.
        entropy: Initial weight of the policy's entropy in the loss, which falls to 0 over the run. With a much smaller
            weight the agent settles on the first of the steps, even with the true reward.
        minibatches: Number of gradient steps in each pass over an update's episodes.
        passes: Number of passes over an update's episodes.
        hidden_sizes: Widths of the layers of policy and value network.

    Example:
        >>> PPOAgent(entropy=0.1).automatic_optimization
        False
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        entropy: float = 0.2,
        minibatches: int = 4,
        passes: int = 4,
        hidden_sizes: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # Stable-Baselines3 takes the gradient steps
        self.learning_rate, self.entropy = learning_rate, entropy
        self.minibatches, self.passes, self.hidden_sizes = minibatches, passes, list(hidden_sizes)
        self._episodes: list[dict[str, Any]] = []

    def setup(self, stage: str) -> None:
        """Make the policy once the environments are known."""
        if self.trainer.world_size > 1:
            raise ValueError(
                f"`trainer`: expected one process for PPOAgent, got {self.trainer.world_size}. Set trainer.devices=1."
            )
        self.environments = GymnasiumVecEnv(self._data.environments())
        self.horizon: int = self._data.task.horizon
        if hasattr(self, "policy"):
            self._check_environments()
            return
        self.agent = PPO(
            "MlpPolicy",
            self.environments,
            learning_rate=self.learning_rate,
            n_steps=self.horizon,
            batch_size=-(-self.environments.num_envs * self.horizon // self.minibatches),
            n_epochs=self.passes,
            gamma=1.0,  # episodes are short and equally long
            ent_coef=self.entropy,
            policy_kwargs={"net_arch": self.hidden_sizes},
            device=self.trainer.strategy.root_device,
        )
        self.agent.set_logger(Logger(folder=None, output_formats=[]))
        self.policy = self.agent.policy

    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer of the policy, so that checkpoints contain it."""
        return self.policy.optimizer

    def on_train_start(self) -> None:
        """Replace the policy's optimizer by Lightning's wrapper, which counts the gradient steps."""
        self.policy.optimizer = self.optimizers()  # type: ignore[assignment]  # there is one, so no list

    def training_step(self, batch: int, batch_idx: int) -> None:
        """Play one episode in each environment, learn from them, log what happened."""
        number = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        self._seed(number)  # by update, so that a resumed run draws the same numbers
        self.agent.ent_coef = self.entropy * (1 - self._share_done(number))
        self._episodes = []
        self.agent.learn(self.horizon * self.agent.n_envs, callback=self._watch, reset_num_timesteps=False)
        figures = {"entropy": -self.agent.logger.name_to_value["train/entropy_loss"], **self._figures()}
        self.log_dict(
            {f"train/{name}": value for name, value in figures.items()}, on_step=False, on_epoch=True, batch_size=1
        )

    def on_test_start(self) -> None:
        """Forget earlier episodes."""
        self._episodes = []
        self._films: list[Sequence[NDArray[np.uint8]]] = []

    def test_step(self, batch: int, batch_idx: int) -> None:
        """Play one episode in each environment."""
        self._seed(_TEST + batch_idx)
        observations: Any = self.environments.reset()
        for _ in range(self.horizon):
            if not batch_idx:
                self._films.append(self.environments.get_images()[:_SHOWN])
            actions, _ = self.agent.predict(observations)
            observations, rewards, ended, infos = self.environments.step(actions)
            self._watch({"dones": ended, "infos": infos, "rewards": rewards}, {})

    def on_test_epoch_end(self) -> None:
        """Log the outcomes and the judge's rewards of scripted robots, and show some episodes."""
        figures = self._figures() | {f"reward/{name}": value for name, value in self._data.scripted_rewards().items()}
        self.log_dict({f"test/{name}": value for name, value in figures.items()})
        log_behaviour(self.trainer, np.array(self._films))

    @property
    def _data(self) -> Any:  # the core may not import the datamodules
        data = getattr(self.trainer, "datamodule", None)
        if not hasattr(data, "environments"):
            raise ValueError(
                f"`datamodule`: expected a HomeTaskDataModule for PPOAgent, got {type(data).__name__}. "
                "Call trainer.fit(agent, datamodule=HomeTaskDataModule())."
            )
        return data

    def _check_environments(self) -> None:
        """Raise a `ValueError` unless number and observations of the environments are those of the policy."""
        expected = self.agent.n_envs, self.agent.observation_space.shape
        given = self.environments.num_envs, self.environments.observation_space.shape
        if given != expected:
            raise ValueError(
                f"`datamodule`: expected {expected[0]} environments with observations of shape {expected[1]}, as this "
                f"agent was made for, got {given[0]} with {given[1]}. Give HomeTaskDataModule the same `num_envs` and "
                "`level`."
            )

    def _share_done(self, number: int) -> float:
        """Return the share of the run before an update; 0 in a run without a limit of epochs or steps."""
        epochs = self.trainer.max_epochs or 0
        # `max_steps` counts gradient steps, of which an update takes many.
        limits = [
            (number, epochs * self.trainer.num_training_batches),
            (self.trainer.global_step, self.trainer.max_steps),
        ]
        return max((done / limit for done, limit in limits if limit > 0), default=0.0)

    def _seed(self, number: int) -> None:
        """Reset everything, with random numbers that depend on the run's seed and this number only."""
        self.agent.set_random_seed(int(np.random.SeedSequence([self._data.seed, number]).generate_state(1)[0]))
        self.agent.set_env(self.environments, force_reset=True)
        self._earned = np.zeros(self.environments.num_envs)

    def _watch(self, step: dict[str, Any], _: dict[str, Any]) -> bool:
        """Add up rewards, and keep the infos of the episodes that end at a step; Stable-Baselines3 calls this."""
        for place, (ended, info) in enumerate(zip(step["dones"], step["infos"], strict=True)):
            self._earned[place] += step["rewards"][place]
            if ended:
                self._episodes.append({**info, "reward": float(self._earned[place])})
                self._earned[place] = 0.0
        return True

    def _figures(self) -> dict[str, float]:
        """Return the mean reward and the outcomes of the kept episodes."""
        arrivals, faced = ([episode[name] for episode in self._episodes] for name in ("arrivals", "faced"))
        mean = sum(episode["reward"] for episode in self._episodes) / len(self._episodes)
        return {"reward": mean, **outcome_shares(arrivals, faced, self._data.level)}
