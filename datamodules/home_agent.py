"""Environments for an agent that learns a task in a home, rewarded by a scorer."""

from itertools import permutations
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from lightning_vista.mini.steps import Step, describe
from lightning_vista.scorers import VLMScorer

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv


class HomeTaskDataModule(L.LightningDataModule):
    """Task in one home of the embedded dataset, in many environments at once: go to things in a fixed order.

    Batches are numbers of updates, since the agent makes its own data in the `environments`.

    Args:
        level: Number of steps, 2 to 4.
        judge: Scorer that rewards the agent at the end of an episode, by how well the task's description fits its
            frames; None for the true reward, see `HomeTask`.
        contrast: Whether to subtract the highest score of the same steps in other orders from the reward.
        num_envs: Number of environments.
        updates_per_epoch: Number of updates in an epoch.
        test_rounds: Number of episodes that a test plays in each environment.
        seed: Random seed of the home, the task and the training.

    Example:
        >>> HomeTaskDataModule(level=3).level
        3
    """

    def __init__(
        self,
        level: int = 2,
        judge: VLMScorer | None = None,
        contrast: bool = False,
        num_envs: int = 64,
        updates_per_epoch: int = 10,
        test_rounds: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.level, self.scorer, self.contrast, self.num_envs = level, judge, contrast, num_envs
        self.updates_per_epoch, self.test_rounds, self.seed = updates_per_epoch, test_rounds, seed

    def setup(self, stage: str) -> None:
        """Make the task, and its judge."""
        # Imported here, since these packages belong to an extra.
        from lightning_vista.mini import sample_task
        from lightning_vista.rewards import VideoJudge

        self.task = sample_task(self.level, self.seed)
        right, *others = permutations(self.task.steps)
        wrong = [describe(order) for order in others] if self.contrast else []
        self.judge = VideoJudge(self.scorer, describe(right), wrong) if self.scorer else None

    def environments(self) -> "VectorEnv[Any, Any, Any]":
        """Make the environments, whose user resets ended episodes."""
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        from lightning_vista.mini import HomeTask
        from lightning_vista.rewards import VectorJudgeReward

        makers = [lambda: HomeTask(self.task)] * self.num_envs
        environments = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
        return VectorJudgeReward(environments, self.judge) if self.judge else environments

    def scripted_rewards(self) -> dict[str, float]:
        """Judge scripted robots, which do the steps in the right order, in other orders, the first, the last, or none.

        Returns:
            Mean reward of each script over the task's starts and over orders; empty for the true reward.
        """
        if self.judge is None:
            return {}
        steps = self.task.steps
        right, *others = permutations(steps)
        plays: dict[str, list[tuple[Step, ...]]] = {"right_order": [right], "wrong_order": others, "no_step": [()]}
        plays |= {"first_step": [steps[:1]], "last_step": [steps[-1:]]}
        rng = np.random.default_rng(self.seed)
        films = {
            name: [self.task.film(start, order, rng) for start in self.task.starts for order in orders]
            for name, orders in plays.items()
        }
        return {name: float(self.judge.rewards(shown).mean()) for name, shown in films.items()}

    def train_dataloader(self) -> DataLoader[int]:
        """Return a loader of the numbers of updates."""
        return _numbers(self.updates_per_epoch)

    def test_dataloader(self) -> DataLoader[int]:
        """Return a loader of the numbers of rounds."""
        return _numbers(self.test_rounds)


def _numbers(count: int) -> DataLoader[int]:
    numbers: Any = range(count)  # a dataset, as far as a DataLoader is concerned
    return DataLoader(numbers, batch_size=None)
