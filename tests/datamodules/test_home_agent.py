from itertools import permutations
from typing import Any

import pytest

from lightning_vista.datamodules import HomeTaskDataModule
from lightning_vista.mini.steps import describe
from lightning_vista.scorers import DualEncoderScorer


def scripted(head: str, contrast: bool = False) -> dict[str, float]:
    judge = DualEncoderScorer(head, weights="shipped")  # type: ignore[arg-type]
    data = HomeTaskDataModule(level=2, judge=judge, contrast=contrast, seed=1)
    data.setup("fit")
    return data.scripted_rewards()


def test_judges_that_see_time_tell_the_orders_apart_and_the_mean_of_frames_does_not() -> None:
    # Right order less wrong order, seeds 0 to 3: mean within .011, temporal .61 to .91, slot .44 to .77.
    blind, temporal, slot = (scripted(head) for head in ("mean", "temporal", "slot"))
    assert abs(blind["right_order"] - blind["wrong_order"]) < 0.1
    assert temporal["right_order"] > temporal["wrong_order"] + 0.2
    assert slot["right_order"] > slot["wrong_order"] + 0.2
    assert blind["right_order"] > blind["no_step"] + 0.2


def test_a_contrast_is_with_all_other_orders() -> None:
    data = HomeTaskDataModule(level=3, judge=DualEncoderScorer("mean", weights="shipped"), contrast=True)
    data.setup("fit")
    assert data.judge is not None
    assert data.judge.descriptions == tuple(map(describe, permutations(data.task.steps)))


def test_the_true_reward_needs_no_scripts() -> None:
    data = HomeTaskDataModule(level=2)
    data.setup("fit")
    assert data.scripted_rewards() == {}
    assert data.environments().num_envs == 64


def test_scripts_earn_the_gains_of_their_potential_and_are_ranked() -> None:
    judge = DualEncoderScorer("slot", weights="shipped")
    data = HomeTaskDataModule(level=2, judge=judge, mode="potential", every=8, per_step=True, seed=1)
    data.setup("fit")
    found = data.scripted_rewards()
    assert data.judge is not None
    assert len(data.judge.descriptions) == 2
    assert found["no_step"] == 0  # nothing changes, so nothing is gained
    assert found["right_order"] > max(found["first_step"], found["wrong_order"]) + 0.05
    assert found["policy_ranking"] > 0.3
    assert 0.5 < found["value_order"] <= 1


@pytest.mark.parametrize("option", [{"mode": "potential"}, {"every": 4}, {"per_step": True}, {"contrast": True}])
def test_options_of_a_judge_need_one(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`judge`: expected a scorer with"):
        HomeTaskDataModule(level=2, **option)


@pytest.mark.parametrize("rounds", [1, 3])
def test_batches_are_numbers(rounds: int) -> None:
    data = HomeTaskDataModule(updates_per_epoch=4, test_rounds=rounds)
    assert list(data.train_dataloader()) == [0, 1, 2, 3]
    assert list(data.test_dataloader()) == list(range(rounds))
