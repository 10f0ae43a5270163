from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from spy_judge import CountingEnv, SpyJudge

from lightning_vista.rewards import FrameInInfo, JudgeReward, VectorJudgeReward, VideoJudge

WAIT = np.int64(0)
#: Two environments with episodes of 2 and 3 steps.
LENGTHS = (2, 3)


def play(env: JudgeReward[np.ndarray, np.int64], steps: int) -> list[float]:
    env.reset()
    return [float(env.step(WAIT)[1]) for _ in range(steps)]


def test_an_episode_is_judged_at_its_end_from_its_first_frame_on() -> None:
    spy = SpyJudge(num_frames=4)
    env = JudgeReward(CountingEnv(3), VideoJudge(spy, "four"))
    assert play(env, 3) == [0, 0, 4 + 103]
    assert play(env, 3) == [0, 0, 4 + 203]
    assert spy.seen == [[[100, 101, 102, 103]], [[200, 201, 202, 203]]]


def test_a_window_slides_over_the_last_frames() -> None:
    spy = SpyJudge(num_frames=2)
    env = JudgeReward(CountingEnv(5), VideoJudge(spy, "four"), every=2, window=2)
    assert [reward > 0 for reward in play(env, 5)] == [False, True, False, True, True]
    assert spy.seen == [[[101, 102]], [[103, 104]], [[104, 105]]]


def test_the_reward_of_the_environment_is_kept() -> None:
    env = JudgeReward(CountingEnv(3), VideoJudge(SpyJudge(), "four"))
    env.reset()
    assert env.step(WAIT)[4]["env_reward"] == 7


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version", "ignore:.*alternative render modes")
def test_a_wrapped_environment_passes_the_check_of_gymnasium() -> None:
    check_env(JudgeReward(CountingEnv(5), VideoJudge(SpyJudge(), "four"), every=1))


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
def test_minigrid_is_rewarded_too() -> None:
    pytest.importorskip("minigrid")
    bare = gymnasium.make("MiniGrid-Empty-5x5-v0", render_mode="rgb_array", max_steps=3)
    env = JudgeReward(bare, VideoJudge(SpyJudge(), "We go to the green square"))
    check_env(env, skip_render_check=True)  # the check would make it again, with other render modes
    env.reset(seed=0)
    assert [float(env.step(WAIT)[1]) for _ in range(3)][-1] > 0


@pytest.mark.parametrize("mode", AutoresetMode)
def test_last_frames_belong_to_the_episode_that_ends(mode: AutoresetMode) -> None:
    spy = SpyJudge(num_frames=4)
    makers = [lambda length=length: FrameInInfo(CountingEnv(length)) for length in LENGTHS]
    env = VectorJudgeReward(SyncVectorEnv(makers, autoreset_mode=mode), VideoJudge(spy, "four"))
    env.reset()
    for _ in range(12):
        _, rewards, ended, *_ = env.step(np.zeros(2, int))
        assert ((rewards > 0) == ended).all()
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
    films = {tuple(dict.fromkeys(film)) for batch in spy.seen for film in batch}
    # Whichever way they reset, an episode's film is all of that episode, and nothing else.
    whole = {
        tuple(100 * episode + step for step in range(length + 1)) for length in LENGTHS for episode in range(1, 20)
    }
    assert films <= whole
    assert {len(film) for film in films} == {3, 4}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_a_reset_by_hand_begins_new_films(mode: AutoresetMode) -> None:
    spy = SpyJudge(num_frames=3)
    env = VectorJudgeReward(SyncVectorEnv([partial(CountingEnv, 2)], autoreset_mode=mode), VideoJudge(spy, "four"))
    for _ in range(2):
        env.reset()
        rewards = [float(env.step(np.zeros(1, int))[1][0]) for _ in range(2)]
        assert [reward > 0 for reward in rewards] == [False, True]
    assert spy.seen == [[[100, 101, 102]], [[200, 201, 202]]]


def test_an_environment_may_draw_into_one_array() -> None:
    class Redrawing(CountingEnv):
        canvas = np.zeros((4, 6, 3), np.uint8)

        def render(self) -> np.ndarray:
            self.canvas[:] = super().render()
            return self.canvas

    spy = SpyJudge(num_frames=4)
    play(JudgeReward(Redrawing(3), VideoJudge(spy, "four")), 3)
    assert spy.seen == [[[100, 101, 102, 103]]]


def test_all_environments_that_end_at_a_step_are_judged_in_one_call() -> None:
    spy = SpyJudge()
    env = VectorJudgeReward(SyncVectorEnv([partial(CountingEnv, 2)] * 3), VideoJudge(spy, "four"))
    env.reset()
    env.unwrapped.envs[1].episode = 5  # type: ignore[attr-defined]
    for _ in range(2):
        _, rewards, _, _, infos = env.step(np.zeros(3, int))
    assert [len(batch) for batch in spy.batches] == [2]  # the first and the third look the same
    assert rewards.tolist() == [4 + 102, 4 + 502, 4 + 102]
    assert infos["env_reward"].tolist() == [7, 7, 7]


def test_the_vector_version_rewards_as_the_single_one_does() -> None:
    single = play(JudgeReward(CountingEnv(5), VideoJudge(SpyJudge(), "four"), every=2, window=3), 5)
    env = VectorJudgeReward(SyncVectorEnv([partial(CountingEnv, 5)] * 2), VideoJudge(SpyJudge(), "four"), 2, 3)
    env.reset()
    assert [env.step(np.zeros(2, int))[1].tolist() for _ in range(5)] == [[reward, reward] for reward in single]


def test_same_step_without_frames_in_the_infos_says_what_to_do() -> None:
    vector = SyncVectorEnv([partial(CountingEnv, 2)], autoreset_mode=AutoresetMode.SAME_STEP)
    env = VectorJudgeReward(vector, VideoJudge(SpyJudge(), "four"))
    env.reset()
    env.step(np.zeros(1, int))
    with pytest.raises(ValueError, match="Wrap the sub-environments in FrameInInfo"):
        env.step(np.zeros(1, int))


def test_what_cannot_work_is_refused_at_once() -> None:
    judge = VideoJudge(SpyJudge(), "four")
    with pytest.raises(ValueError, match='Make the environment with render_mode="rgb_array"'):
        JudgeReward(CountingEnv(2, render_mode=None), judge)
    with pytest.raises(ValueError, match="`window`: expected at least 1, got 0"):
        JudgeReward(CountingEnv(2), judge, window=0)
