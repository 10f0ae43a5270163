from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from lightning.pytorch.callbacks import LambdaCallback
from spy_judge import CountingEnv, SpyJudge

from lightning_vista.datamodules import HomeTaskDataModule
from lightning_vista.rewards.ppo_agent import GymnasiumVecEnv, PPOAgent
from lightning_vista.scorers import Scores


def trainer(root: Path, epochs: int, *callbacks: L.Callback, max_steps: int = -1) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs,
        max_steps=max_steps,
        accelerator="cpu",
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train(run: L.Trainer, checkpoint: Path | None = None, **settings: Any) -> PPOAgent:
    torch.manual_seed(0)  # of the first weights
    agent = PPOAgent(learning_rate=2e-3)
    run.fit(agent, HomeTaskDataModule(seed=4, **settings), ckpt_path=checkpoint)
    return agent


def test_it_learns_the_order_from_the_true_reward(tmp_path: Path) -> None:
    """Thresholds that other seeds met with a margin: 0, 1, 2, 3, 5 and 7 had a success of .98 to 1.00."""
    run = trainer(tmp_path, epochs=8)
    (figures,) = run.test(train(run), HomeTaskDataModule(seed=4), verbose=False)
    assert figures["test/success"] > 0.7
    assert figures["test/wrong_order"] < 0.1
    assert figures["test/reward"] > 0.7
    assert "test/reward/right_order" not in figures
    assert (tmp_path / "behaviour.png").stat().st_size > 5000
    assert (tmp_path / "behaviour_moving.png").stat().st_size > 5000


def test_a_run_that_goes_on_equals_one_that_was_not_interrupted(tmp_path: Path) -> None:
    small: dict[str, Any] = {"num_envs": 8, "updates_per_epoch": 2}
    save = LambdaCallback(on_train_epoch_end=lambda run, _: run.save_checkpoint(tmp_path / f"{run.current_epoch}.ckpt"))
    run = trainer(tmp_path, 3, save)
    whole = train(run, **small)
    assert run.global_step == 3 * 2 * 4 * 4  # epochs, updates, passes, minibatches
    rest = train(trainer(tmp_path, 3), tmp_path / "0.ckpt", **small)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, rest.state_dict()[name]), name


@pytest.mark.parametrize(("epochs", "max_steps"), [(2, -1), (-1, 64), (2, 1000)])
def test_the_weight_of_the_entropy_falls_over_the_run(tmp_path: Path, epochs: int, max_steps: int) -> None:
    # `max_steps` counts gradient steps, 16 in each of the four updates.
    weights: list[float] = []
    note: Any = LambdaCallback(on_train_batch_end=lambda _, agent, *__: weights.append(agent.agent.ent_coef))
    train(trainer(tmp_path, epochs, note, max_steps=max_steps), num_envs=2, updates_per_epoch=2)
    assert weights == pytest.approx([0.2, 0.15, 0.1, 0.05])


def test_the_judge_alone_rewards_it(tmp_path: Path) -> None:
    spy = SpyJudge()
    run = trainer(tmp_path, 1)
    train(run, judge=spy, contrast=True, num_envs=4, updates_per_epoch=1)
    (shown,) = spy.batches
    (candidates,) = shown.candidates[0]
    right, wrong = candidates.descriptions
    assert right != wrong
    # The spy's score is a description's length plus a stamp of the frame: the contrast leaves the lengths.
    assert run.callback_metrics["train/reward"] == len(right) - len(wrong)


class LeftHalf(SpyJudge):
    """Scores the brightness of the last frame's left half, optionally less that of the first."""

    def __init__(self, less_first: bool) -> None:
        super().__init__()
        self.less_first = less_first

    def _scores(self, frames: torch.Tensor, descriptions: tuple[str, ...]) -> Scores:
        first, *_, last = frames[..., : frames.shape[-1] // 2].double().mean(dim=(1, 2, 3))
        value = last - self.less_first * first
        return Scores(value.expand(len(descriptions)))


def test_the_reward_of_an_episode_is_the_sum_of_its_gains(tmp_path: Path) -> None:
    gains, ends = trainer(tmp_path, 1), trainer(tmp_path, 1)
    train(gains, judge=LeftHalf(less_first=False), mode="potential", every=4, num_envs=4, updates_per_epoch=1)
    train(ends, judge=LeftHalf(less_first=True), num_envs=4, updates_per_epoch=1)
    # Both play the same first episodes, since nothing has been learnt yet.
    assert float(gains.callback_metrics["train/reward"]) == pytest.approx(float(ends.callback_metrics["train/reward"]))
    assert float(gains.callback_metrics["train/reward"]) != 0


def test_other_environments_are_refused(tmp_path: Path) -> None:
    agent = train(trainer(tmp_path, 1), num_envs=4, updates_per_epoch=1)
    for other in (HomeTaskDataModule(num_envs=8), HomeTaskDataModule(level=3, num_envs=4)):
        with pytest.raises(ValueError, match="expected 4 environments .* the same `num_envs` and `level`"):
            trainer(tmp_path, 1).test(agent, other)


def test_it_says_where_it_can_learn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a HomeTaskDataModule for PPOAgent, got NoneType"):
        trainer(tmp_path, 1).fit(PPOAgent(), train_dataloaders=[0, 1])


def test_what_ends_is_reset_and_its_last_observation_kept() -> None:
    makers = [partial(CountingEnv, length) for length in (2, 3)]
    env = GymnasiumVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED))
    env.seed(0)
    first: Any = env.reset()
    assert first.tolist() == [[100], [100]]
    seen: list[Any] = [env.step(np.zeros(2, int)) for _ in range(3)]
    assert [observations[:, 0].tolist() for observations, *_ in seen] == [[101, 101], [200, 102], [201, 200]]
    assert [ended.tolist() for _, _, ended, _ in seen] == [[False, False], [True, False], [False, True]]
    last = seen[1][3][0]
    assert last["terminal_observation"].tolist() == [102]
    assert not last["TimeLimit.truncated"]
    assert "terminal_observation" not in seen[1][3][1]


def test_another_way_to_reset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected AutoresetMode\.DISABLED, got AutoresetMode\.NEXT_STEP"):
        GymnasiumVecEnv(SyncVectorEnv([partial(CountingEnv, 2)]))
