from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from spy_judge import CountingEnv, SpyJudge, stamp

from lightning_vista.rewards import FrameInInfo, JudgeReward, VectorJudgeReward, VideoJudge, episode_rewards
from lightning_vista.rewards.film import Schedule
from lightning_vista.scorers import Scores
from lightning_vista.video import FrameSpec

WAIT = np.int64(0)
TWO_STEPS = "First, we a, and then we bb"
#: Scores of the first step and of both at each moment of an episode: the first step's score falls after its moment.
CURVES = {0: (0.0, 0.0), 1: (0.5, 0.25), 2: (1.0, 0.25), 3: (0.25, 0.5), 4: (0.5, 0.75), 5: (0.0, 0.5)}


class ByMoment(SpyJudge):
    """Scores descriptions by the moment of the last frame, see `CURVES`; the last description is that of all steps."""

    def _scores(self, frames: torch.Tensor, descriptions: tuple[str, ...]) -> Scores:
        first, both = CURVES[stamp(frames[-1].permute(1, 2, 0).numpy()) % 100]
        return Scores(torch.tensor([first, both][-len(descriptions) :]))


def rewards(env: JudgeReward[Any, Any], steps: int) -> list[float]:
    env.reset()
    return [float(env.step(WAIT)[1]) for _ in range(steps)]


def test_a_potential_pays_what_has_been_gained_since_the_last_judgement() -> None:
    env = JudgeReward(CountingEnv(5), VideoJudge(ByMoment(), TWO_STEPS), every=2, mode="potential")
    assert rewards(env, 5) == [0, 0.25, 0, 0.5, -0.25]
    assert rewards(env, 5) == [0, 0.25, 0, 0.5, -0.25]  # nothing is left of the episode before


def test_steps_that_were_done_stay_done() -> None:
    env = JudgeReward(CountingEnv(5), VideoJudge(ByMoment(), TWO_STEPS, per_step=True), every=1, mode="potential")
    # Means of the highest so far: 0, .375, .625, .75, .875, .875
    assert rewards(env, 5) == [0.375, 0.25, 0.125, 0.125, 0]


@pytest.mark.parametrize("every", [1, 2, 3, 5, 9])
def test_the_gains_of_an_episode_add_up_to_the_difference_of_its_ends(every: int) -> None:
    env = JudgeReward(CountingEnv(5), VideoJudge(SpyJudge(), "four"), every=every, mode="potential")
    assert sum(rewards(env, 5)) == 105 - 100


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("per_step", [False, True])
def test_many_environments_earn_what_one_does(mode: AutoresetMode, per_step: bool) -> None:
    judge = VideoJudge(ByMoment(), TWO_STEPS, per_step=per_step)
    single = JudgeReward(CountingEnv(5), judge, every=2, mode="potential")
    expected = rewards(single, 5)
    makers = [lambda: FrameInInfo(CountingEnv(5))] * 2
    env = VectorJudgeReward(SyncVectorEnv(makers, autoreset_mode=mode), judge, every=2, mode="potential")
    env.reset()
    for _ in range(3):
        for reward in expected:
            _, earned, ended, *_ = env.step(np.zeros(2, int))
            assert earned.tolist() == [reward, reward]
        if mode is AutoresetMode.DISABLED:
            env.reset(options={"reset_mask": ended})
        elif mode is AutoresetMode.NEXT_STEP:
            assert env.step(np.zeros(2, int))[1].tolist() == [0, 0]


def test_environments_of_different_lengths_keep_their_potentials_apart() -> None:
    makers = [partial(CountingEnv, length) for length in (2, 5)]
    vector = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    env = VectorJudgeReward(vector, VideoJudge(ByMoment(), TWO_STEPS), every=2, mode="potential")
    env.reset()
    seen = []
    for _ in range(5):
        _, earned, ended, *_ = env.step(np.zeros(2, int))
        seen.append(earned.tolist())
        if ended.any():
            env.reset(options={"reset_mask": ended})
    # The first begins again after two steps, and earns the same again.
    assert seen == [[0, 0], [0.25, 0.25], [0, 0], [0.25, 0.5], [0, -0.25]]


@pytest.mark.parametrize(("mode", "every"), [("score", None), ("score", 2), ("potential", 2)])
@pytest.mark.parametrize("per_step", [False, True])
def test_whole_episodes_earn_what_an_environment_pays(mode: Any, every: int | None, per_step: bool) -> None:
    judge = VideoJudge(ByMoment(), TWO_STEPS, per_step=per_step)
    paid = sum(rewards(JudgeReward(CountingEnv(5), judge, every=every, mode=mode), 5))
    env = CountingEnv(5)
    env.reset()
    frames = [env.render(), *(env.step(WAIT) and env.render() for _ in range(5))]
    assert episode_rewards(judge, mode, Schedule(every), [frames, frames]).tolist() == [paid, paid]


def test_every_step_is_scored_in_one_call() -> None:
    spy = SpyJudge(num_frames=3)
    judge = VideoJudge(spy, "First, we a, then we bb, and finally we c", per_step=True)
    assert judge.num_values == 3
    env = CountingEnv(3)
    env.reset()
    lengths = [len("We a"), len("First, we a, and then we bb"), len("First, we a, then we bb, and finally we c")]
    assert judge.values([[env.render()]]).tolist() == [[length + 100 for length in lengths]]
    assert judge.rewards([[env.render()]]).tolist() == [pytest.approx(sum(lengths) / 3 + 100)]
    assert len(spy.batches) == 1


def test_an_unscored_video_has_the_chosen_value_at_every_step() -> None:
    judge = VideoJudge(SpyJudge(unscored=True), TWO_STEPS, unscored=-0.5, per_step=True)
    env = CountingEnv(3)
    env.reset()
    assert judge.values([[env.render()]]).tolist() == [[-0.5, -0.5]]


def test_what_cannot_work_is_refused_at_once() -> None:
    judge = VideoJudge(SpyJudge(), "four")
    with pytest.raises(ValueError, match="`every`: expected an interval with mode='potential', got None"):
        JudgeReward(CountingEnv(2), judge, mode="potential")
    with pytest.raises(ValueError, match="Did you mean 'potential'"):
        JudgeReward(CountingEnv(2), judge, every=1, mode="potentials")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`description`: expected several steps with per_step=True"):
        VideoJudge(SpyJudge(), "four", per_step=True)
    with pytest.raises(ValueError, match="`wrong`: expected none with per_step=True, got 1"):
        VideoJudge(SpyJudge(), TWO_STEPS, wrong=["four"], per_step=True)
    spy = SpyJudge()
    spy.frame_spec = FrameSpec(4, "stride", size=None)
    with pytest.raises(ValueError, match="`judge`: expected a scorer with uniform sampling for mode='potential'"):
        JudgeReward(CountingEnv(2), VideoJudge(spy, "four"), every=1, mode="potential")
