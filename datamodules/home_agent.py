"""Environments for an agent that learns a task in a home, rewarded by a scorer."""

from itertools import permutations
from typing import TYPE_CHECKING, Any, Literal

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from lightning_vista.metrics.reward_tests import policy_ranking, value_order_correlation
from lightning_vista.mini.steps import Step, describe
from lightning_vista.scorers import VLMScorer

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from lightning_vista.rewards import VideoJudge

#: Number of prefixes of a scripted episode at which its value is measured.
_POINTS = 9


class HomeTaskDataModule(L.LightningDataModule):
    """Task in one home of the embedded dataset, in many environments at once: go to things in a fixed order.

    Batches are numbers of updates, since the agent makes its own data in the `environments`.

    Args:
        level: Number of steps, 2 to 4.
        judge: Scorer that rewards the agent by how well the task's description fits the frames of an episode; None for
            the true reward, see `HomeTask`.
        contrast: Whether to subtract the highest score of the same steps in other orders from the reward.
        mode: `score` of the episode, or `potential` for the growth of the score since the last judgement, see
            `lightning_vista.rewards.Payment`.
        every: Interval in moves at which to judge, besides the end of an episode; `potential` needs one.
        per_step: Whether to score the first step, the first two, and so on, see `VideoJudge`; excludes `contrast`.
        num_envs: Number of environments.
        updates_per_epoch: Number of updates in an epoch.
        test_rounds: Number of episodes that a test plays in each environment.
        seed: Random seed of the home, the task and the training.

    Raises:
        ValueError: If an option that tells how to judge is given without a judge.

    Example:
        >>> HomeTaskDataModule(level=3).level
        3
    """

    def __init__(
        self,
        level: int = 2,
        judge: VLMScorer | None = None,
        contrast: bool = False,
        mode: Literal["score", "potential"] = "score",
        every: int | None = None,
        per_step: bool = False,
        num_envs: int = 64,
        updates_per_epoch: int = 10,
        test_rounds: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if judge is None and (contrast or per_step or every is not None or mode != "score"):
            raise ValueError(
                "`judge`: expected a scorer with `contrast`, `mode`, `every` or `per_step`, got None. Give a scorer, "
                "or leave out these options."
            )
        self.level, self.scorer, self.contrast, self.num_envs = level, judge, contrast, num_envs
        self.mode, self.every, self.per_step = mode, every, per_step
        self.updates_per_epoch, self.test_rounds, self.seed = updates_per_epoch, test_rounds, seed

    def setup(self, stage: str) -> None:
        """Make the task, and its judge."""
        # Imported here, since these packages belong to an extra.
        from lightning_vista.mini import sample_task
        from lightning_vista.rewards import VideoJudge

        self.task = sample_task(self.level, self.seed)
        right, *others = permutations(self.task.steps)
        wrong = [describe(order) for order in others] if self.contrast else []
        self.judge = VideoJudge(self.scorer, describe(right), wrong, per_step=self.per_step) if self.scorer else None

    def environments(self) -> "VectorEnv[Any, Any, Any]":
        """Make the environments, whose user resets ended episodes."""
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        from lightning_vista.mini import HomeTask
        from lightning_vista.rewards import VectorJudgeReward

        makers = [lambda: HomeTask(self.task)] * self.num_envs
        environments = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
        return VectorJudgeReward(environments, self.judge, self.every, mode=self.mode) if self.judge else environments

    def scripted_rewards(self) -> dict[str, float]:
        """Judge scripted robots, which do the steps in the right order, in other orders, the first, the last, or none.

        Returns:
            Mean reward of each script over the task's starts and over orders; `policy_ranking` of all scripts, compared
            with their true rewards, and `value_order`, the mean value-order correlation of the right order (see
            `lightning_vista.metrics.reward_tests`). Empty for the true reward.
        """
        judge = self.judge
        if judge is None:
            return {}
        steps = self.task.steps
        right, *others = permutations(steps)
        plays: dict[str, list[tuple[Step, ...]]] = {"right_order": [right], "wrong_order": others, "no_step": [()]}
        plays |= {"first_step": [steps[:1]], "last_step": [steps[-1:]]}
        rng = np.random.default_rng(self.seed)
        films = {
            name: [[self.task.film(start, order, rng) for start in self.task.starts] for order in orders]
            for name, orders in plays.items()
        }
        earned = {name: [self._mean_reward(judge, of_order) for of_order in shown] for name, shown in films.items()}
        true = [self._true_reward(order) for orders in plays.values() for order in orders]
        ranking = policy_ranking([reward for rewards in earned.values() for reward in rewards], true)
        means = {name: float(np.mean(rewards)) for name, rewards in earned.items()}
        return means | {"policy_ranking": ranking, "value_order": _value_order(judge, films["right_order"][0])}

    def _mean_reward(self, judge: "VideoJudge", films: "list[Any]") -> float:
        """Return the mean reward of episodes `(frames, height, width, 3)`."""
        from lightning_vista.rewards import episode_rewards
        from lightning_vista.rewards.film import Schedule

        return float(episode_rewards(judge, self.mode, Schedule(self.every), films).mean())

    def _true_reward(self, order: tuple[Step, ...]) -> float:
        """Return the true reward of a script."""
        from lightning_vista.mini.home_task import right_share

        return right_share(tuple(self.task.steps.index(step) for step in order), self.level)

    def train_dataloader(self) -> DataLoader[int]:
        """Return a loader of the numbers of updates."""
        return _numbers(self.updates_per_epoch)

    def test_dataloader(self) -> DataLoader[int]:
        """Return a loader of the numbers of rounds."""
        return _numbers(self.test_rounds)


def _numbers(count: int) -> DataLoader[int]:
    numbers: Any = range(count)  # a dataset, as far as a DataLoader is concerned
    return DataLoader(numbers, batch_size=None)


def _value_order(judge: "VideoJudge", films: "list[Any]") -> float:
    """Return the mean value-order correlation of episodes whose right order is scripted."""
    ends = np.linspace(1, len(films[0]), _POINTS).round().astype(int)
    values = [judge.rewards([film[:end] for end in ends]).tolist() for film in films]
    return float(np.mean([value_order_correlation(of_film) for of_film in values]))
