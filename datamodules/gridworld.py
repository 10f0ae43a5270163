"""Roll-outs in the gridworld of scalable oversight, by the policy in training itself."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_vista.oversight.grid import OversightGridworld
from lightning_vista.oversight.rollout import Batch, roll_out

#: Offset of `evaluation_seed` for validation, so that tests have episodes of their own.
_VALIDATION = 1


class GridworldDataModule(L.LightningDataModule):
    """Roll-outs as batches, see `roll_out`, by the module that the trainer trains.

    That module has `act(observation, generator, actor)` and names its actors in `actors`; the first one acts in
    training. Environments keep their state between roll-outs and in checkpoints, so a resumed run sees the same
    episodes as an uninterrupted one. Each roll-out is made on request, after the last update, in the trainer's process.

    In an evaluation, every actor plays the same new episodes, one in each environment. Such a batch also has `actor`.

    Args:
        oversight_probability: Probability that the diamond's cell, and independently the ghost's, is under oversight.
        num_envs: Number of environments, the rows of a batch.
        num_steps: Number of steps of a roll-out.
        rollouts_per_epoch: Number of roll-outs in an epoch, each for one update.
        share_rollouts: Whether to make only the share `oversight_probability` of them, rounded, at least 1. That is as
            much data as complete oversight of a part of the updates would give.
        size: Number of rows and columns of the grid.
        horizon: Number of steps after which an episode ends.
        spurious_oversight_probability: Probability that any other cell is under oversight.
        stale_observation: Whether the first action of an episode uses an old observation, see `OversightGridworld`.
        validation_episodes: Number of episodes of each actor in a validation.
        test_episodes: Number of episodes of each actor in a test.
        evaluation_seed: Random seed of the episodes in evaluations, independent of the run's seed.

    Raises:
        ValueError: If a number is not positive, the module cannot act, or there are several processes: each would play
            episodes of its own, and a checkpoint could keep those of one process only.
    """

    def __init__(
        self,
        oversight_probability: float = 0.03,
        num_envs: int = 128,
        num_steps: int = 32,
        rollouts_per_epoch: int = 100,
        share_rollouts: bool = False,
        size: int = 5,
        horizon: int = 32,
        spurious_oversight_probability: float = 0.0,
        stale_observation: bool = False,
        validation_episodes: int = 500,
        test_episodes: int = 4000,
        evaluation_seed: int = 1_000_000,
    ) -> None:
        super().__init__()
        counts = (num_steps, rollouts_per_epoch, validation_episodes, test_episodes)
        if min(counts) < 1:
            raise ValueError(
                "`num_steps`, `rollouts_per_epoch`, `validation_episodes`, `test_episodes`: expected at least 1, got "
                f"{counts}."
            )
        share = oversight_probability if share_rollouts else 1
        self.rollouts_per_epoch = max(round(share * rollouts_per_epoch), 1)
        self.num_envs, self.num_steps, self.horizon = num_envs, num_steps, horizon
        self.validation_episodes, self.test_episodes = validation_episodes, test_episodes
        self.evaluation_seed = evaluation_seed
        self._make_env = partial(
            OversightGridworld,
            size=size,
            horizon=horizon,
            oversight_probability=oversight_probability,
            spurious_oversight_probability=spurious_oversight_probability,
            stale_observation=stale_observation,
        )
        self.env: OversightGridworld | None = None

    def setup(self, stage: str) -> None:
        """Make the environments for training, with the seed of the run."""
        trainer = _attached(self.trainer)
        if trainer.world_size > 1:
            raise ValueError(
                "`trainer`: expected one process for GridworldDataModule, got "
                f"{trainer.world_size}. Set trainer.devices=1."
            )
        if stage == "fit":
            self.env = self._make_env(self.num_envs, seed=torch.initial_seed(), device=trainer.strategy.root_device)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of roll-outs by the current policy."""
        return _loader(_Made([self._train] * self.rollouts_per_epoch))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of the episodes of each actor, one batch per actor."""
        return self._evaluations(self.validation_episodes, self.evaluation_seed + _VALIDATION)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of the episodes of each actor, one batch per actor."""
        return self._evaluations(self.test_episodes, self.evaluation_seed)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the environments, with their generator."""
        return {} if self.env is None else {"env": self.env.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from the environments of a checkpoint; evaluations do not depend on it."""
        if self.env is not None:
            self.env.load_state_dict(state_dict["env"])

    def _train(self) -> Batch:
        policy, env = self._policy(), self.env
        if env is None:
            raise ValueError("`env`: expected environments, got none. Call `setup('fit')`, or train with a trainer.")
        return roll_out(env, partial(policy.act, generator=env.generator), self.num_steps)

    def _evaluate(self, actor: str, episodes: int, seed: int) -> dict[str, Any]:
        policy = self._policy()
        env = self._make_env(episodes, seed=seed, device=policy.device)
        return {
            **roll_out(env, partial(policy.act, generator=env.generator, actor=actor), self.horizon),
            "actor": actor,
        }

    def _evaluations(self, episodes: int, seed: int) -> DataLoader[dict[str, Any]]:
        return _loader(_Made([partial(self._evaluate, actor, episodes, seed) for actor in self._policy().actors]))

    def _policy(self) -> Any:
        """Return the module in training, which acts."""
        module = _attached(self.trainer).lightning_module
        if not hasattr(module, "act") or not hasattr(module, "actors"):
            raise ValueError(
                "`model`: expected a module with `act(observation, generator, actor)` and `actors`, such as "
                f"OversightPolicy, got {type(module).__name__}."
            )
        return module


class _Made(Dataset[Any]):
    """Dataset of items that are made on request."""

    def __init__(self, makers: Sequence[Callable[[], Any]]) -> None:
        self._makers = makers

    def __len__(self) -> int:
        return len(self._makers)

    def __getitem__(self, index: int) -> Any:
        return self._makers[index]()


def _loader(items: Dataset[Any]) -> DataLoader[Any]:
    """Return a loader in this process: a worker would act with an older copy of the policy."""
    return DataLoader(items, batch_size=None, num_workers=0)


def _attached(trainer: L.Trainer | None) -> L.Trainer:
    if trainer is None:
        raise ValueError(
            "`trainer`: expected one, whose module acts, got none. Pass the datamodule to `Trainer.fit` or `test`."
        )
    return trainer
