"""Proximal policy optimisation of Stable-Baselines3 as a LightningModule."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from torch.optim import Optimizer

from lightning_vista.agents.behaviour import log_behaviour
from lightning_vista.agents.outcomes import outcome_shares
from lightning_vista.agents.vec_env import GymnasiumVecEnv

_SHOWN = 8
#: Keeps the seeds of tests apart from those of training.
_TEST = 2**20


class PPOAgent(L.LightningModule):
    """An agent that learns in the environments of a `HomeTaskDataModule`, one update a batch.

    An update plays one episode in each environment and takes gradient steps on them, both by Stable-Baselines3. Each
    update has a random seed of its own, so that a run which goes on from a checkpoint equals one that was never
    interrupted. The actions in a test are sampled, as in training.

    After a test, `test/success` and the other outcomes of `outcome_shares`, `test/reward`, and `test/reward/<what>` for
    what scripted robots do. `behaviour.png` shows episodes as rows of frames, `behaviour_moving.png` plays them.

    Args:
        learning_rate: Of Adam.
        entropy: What the entropy of the policy counts in the loss at first; it falls to nothing over the run. With
            much less the agent settles on the first of the steps, even if the reward is the true one.
        minibatches: Gradient steps of each pass over an update's episodes.
        passes: Passes over them.
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
        """Make the policy, once the environments are known."""
        if self.trainer.world_size > 1:
            raise ValueError(f"PPOAgent learns in one process, got {self.trainer.world_size}: set trainer.devices=1.")
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
            gamma=1.0,  # episodes are short and equally long, and their rewards come at the end
            ent_coef=self.entropy,
            policy_kwargs={"net_arch": self.hidden_sizes},
            device=self.trainer.strategy.root_device,
        )
        self.agent.set_logger(Logger(folder=None, output_formats=[]))
        self.policy = self.agent.policy

    def configure_optimizers(self) -> Optimizer:
        """The optimizer of the policy, so that checkpoints have it."""
        return self.policy.optimizer

    def on_train_start(self) -> None:
        """Let Lightning count the gradient steps."""
        self.policy.optimizer = self.optimizers()  # type: ignore[assignment]  # there is one, so no list

    def training_step(self, batch: int, batch_idx: int) -> None:
        """Play one episode in each environment, learn from them, log what happened."""
        number = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        self._seed(number)
        self.agent.ent_coef = self.entropy * (1 - number / self.trainer.estimated_stepping_batches)
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
        """Log what happened, beside what the judge makes of scripted robots, and show some episodes."""
        figures = self._figures() | {f"reward/{name}": value for name, value in self._data.scripted_rewards().items()}
        self.log_dict({f"test/{name}": value for name, value in figures.items()})
        log_behaviour(self.trainer, np.array(self._films))

    @property
    def _data(self) -> Any:  # the core does not know the datamodules
        data = getattr(self.trainer, "datamodule", None)
        if not hasattr(data, "environments"):
            raise ValueError(
                f"PPOAgent learns in the environments of a HomeTaskDataModule, got {type(data).__name__}: "
                "call trainer.fit(agent, datamodule=HomeTaskDataModule())."
            )
        return data

    def _check_environments(self) -> None:
        """Raise a `ValueError` unless the environments are as many, and look as, those that the policy was made for."""
        expected = self.agent.n_envs, self.agent.observation_space.shape
        given = self.environments.num_envs, self.environments.observation_space.shape
        if given != expected:
            raise ValueError(
                f"Expected {expected[0]} environments with observations of shape {expected[1]}, which this agent was "
                f"made for, got {given[0]} with {given[1]}: give HomeTaskDataModule the same num_envs and level."
            )

    def _seed(self, number: int) -> None:
        """Begin anew, with random numbers that depend on the run's seed and this number only."""
        self.agent.set_random_seed(int(np.random.SeedSequence([self._data.seed, number]).generate_state(1)[0]))
        self.agent.set_env(self.environments, force_reset=True)

    def _watch(self, step: dict[str, Any], _: dict[str, Any]) -> bool:
        """Keep what is told of the episodes that end at a step; Stable-Baselines3 calls this."""
        for ended, info, reward in zip(step["dones"], step["infos"], step["rewards"], strict=True):
            if ended:
                self._episodes.append({**info, "reward": float(reward)})
        return True

    def _figures(self) -> dict[str, float]:
        """The mean reward and the outcomes of the kept episodes."""
        arrivals, faced = ([episode[name] for episode in self._episodes] for name in ("arrivals", "faced"))
        mean = sum(episode["reward"] for episode in self._episodes) / len(self._episodes)
        return {"reward": mean, **outcome_shares(arrivals, faced, self._data.level)}
