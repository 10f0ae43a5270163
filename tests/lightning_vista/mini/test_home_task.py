from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from spy_judge import SpyJudge

from lightning_vista.mini import HomeTask, Task, sample_task
from lightning_vista.mini.home_episode import GO_TO, IDLE, HomeEpisode, act_out_home
from lightning_vista.mini.home_task import WAIT, outcome_shares, right_share
from lightning_vista.mini.steps import events
from lightning_vista.rewards import JudgeReward, VideoJudge


@pytest.fixture(scope="module")
def task() -> Task:
    return sample_task(level=3, seed=3)


def random_actions(task: Task, rng: np.random.Generator) -> list[int]:
    """Random walks that often follow a plan, so that steps happen in all orders."""
    start = task.starts[0]
    order = [task.steps[index] for index in rng.permutation(3)[: rng.integers(4)]]
    parts = act_out_home(replace(task.home, robot=start), order) or []
    plan = [WAIT if action == IDLE else int(action) for part in parts for action in part]
    noise = rng.integers(4, size=task.horizon).tolist()
    where = int(rng.integers(len(plan) + 1))
    return [*plan[:where], *noise][: task.horizon] if rng.random() < 0.5 else [*plan, *noise][: task.horizon]


def doubled(actions: list[int]) -> list[int]:
    """What happens of some actions: waiting takes two steps."""
    done: list[int] = []
    waits = False
    for action in actions:
        done.append(IDLE if waits or action == WAIT else action)
        waits = not waits and action == WAIT
    return done


def test_what_it_tells_is_what_the_dataset_reads_from_the_same_moves(task: Task) -> None:
    rng = np.random.default_rng(0)
    env = HomeTask(task)
    outcomes = set()
    for _ in range(60):
        actions = random_actions(task, rng)
        env.reset(options={"start": 0})
        for action in actions:
            _, reward, ended, _, info = env.step(np.int64(action))
        episode = HomeEpisode(replace(task.home, robot=task.starts[0]), tuple(doubled(actions)))
        happened = events(episode.scenes, episode.changes, episode.stops)
        reached = [task.steps.index(step) for step in happened if step in task.steps]
        assert info["arrivals"] == tuple(dict.fromkeys(reached))
        assert (env.render() == episode.frames()[-1]).all()
        assert ended
        assert reward == right_share(info["arrivals"], 3)
        if episode.resembles(task.steps):
            ahead = [scene.at.get(scene.robot.ahead) for scene in episode.scenes]
            assert {step.thing for step in task.steps} <= set(ahead)
        outcomes.add(info["arrivals"])
    assert len(outcomes) >= 8
    assert all(step.verb == GO_TO for step in task.steps)


def test_a_reset_is_random_and_seeded(task: Task) -> None:
    env = HomeTask(task)
    starts = []
    for seed in [*range(10), *range(10)]:
        env.reset(seed=seed)
        starts.append(env.robot)
    assert starts[:10] == starts[10:]
    assert len(set(starts)) > 3


@pytest.mark.filterwarnings("ignore:.*alternative render modes", "ignore:.*different from the unwrapped version")
def test_it_passes_the_check_of_gymnasium_with_and_without_a_judge(task: Task) -> None:
    check_env(HomeTask(task))
    check_env(JudgeReward(HomeTask(task), VideoJudge(SpyJudge(), "We go to the red ball"), every=1, window=4))


def test_an_unknown_render_mode_is_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="`render_mode`: expected one of 'rgb_array', got 'human'"):
        HomeTask(task, render_mode="human")


def test_every_episode_has_one_of_four_outcomes() -> None:
    episodes = [order for size in range(4) for order in permutations(range(3), size)]
    shares = outcome_shares(episodes, episodes, level=3)
    assert sum(shares[name] for name in ("success", "wrong_order", "some_steps", "no_step")) == 1
    assert shares["success"] == 1 / len(episodes)
    assert shares["wrong_order"] == 5 / len(episodes)


def test_a_lenient_viewer_sees_the_order_in_what_was_faced() -> None:
    looks = list(product(range(2), repeat=3))  # 0 and then 1 is in four of the eight
    assert outcome_shares([()] * 8, looks, level=2)["in_passing"] == 0.5
    assert outcome_shares([(0, 1)] * 8, looks, level=2)["in_passing"] == 0


def test_the_true_reward_ends_with_the_first_step_out_of_order() -> None:
    assert [right_share(done, 3) for done in ((0, 2), (0, 2, 1), (1, 0, 2), (0, 1, 2))] == [1 / 3, 1 / 3, 0, 1]
