from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from lightning_vista.mini import Task, sample_task
from lightning_vista.mini.home_episode import act_out_home
from lightning_vista.mini.home_scene import draw_scene


@pytest.fixture(scope="module")
def task() -> Task:
    return sample_task(level=2, seed=7)


def test_every_order_can_be_played_and_takes_as_long(task: Task) -> None:
    lengths = []
    for start in task.starts:
        plays = [act_out_home(replace(task.home, robot=start), order) for order in permutations(task.steps)]
        assert None not in plays
        lengths.append([sum(map(len, parts)) for parts in plays if parts])
    assert np.max(lengths) <= task.horizon - 8
    assert abs(np.subtract(*np.mean(lengths, axis=0))) <= 0.5


def test_a_film_shows_the_steps_that_it_is_asked_for(task: Task) -> None:
    start, rng = task.starts[0], np.random.default_rng(0)
    film = task.film(start, task.steps, rng)
    assert film.shape == (task.horizon + 1, 96, 96, 3)
    assert (film[0] == task.frame(start)).all()
    last = act_out_home(replace(task.home, robot=start), task.steps)
    assert last is not None
    still = task.film(start, (), rng)
    assert (still == task.frame(start)).all()


def test_frames_are_drawn_as_the_dataset_does(task: Task) -> None:
    pose = task.starts[-1]
    assert (task.frame(pose) == draw_scene(replace(task.home, robot=pose))).all()


def test_a_seed_gives_the_same_task_again(task: Task) -> None:
    again = sample_task(level=2, seed=7)
    assert (again.description, again.starts, again.home) == (task.description, task.starts, task.home)
    assert sample_task(level=2, seed=8).home != task.home


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="`level`: expected 2 to 4 steps, got 5"):
        sample_task(level=5, seed=0)
