"""The rules of the grid, against a plain simulation of one environment at a time."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_vista.oversight.drawing import MOVES, draw_grid
from lightning_vista.oversight.grid import Outcome, OversightGridworld

quick = settings(max_examples=20, deadline=None)
COLOURS = {"agent": (60, 60, 66), "diamond": (40, 150, 225), "ghost": (205, 70, 90), "oversight": (240, 185, 50)}


def toward(env: OversightGridworld, thing: int) -> Tensor:
    """A move that brings each agent nearer to the diamond (1) or the ghost (2)."""
    rows, columns = env.places // env.size, env.places % env.size
    down, right = rows[:, thing] - rows[:, 0], columns[:, thing] - columns[:, 0]
    return torch.where(down != 0, (down > 0).long(), 2 + (right > 0).long())


@quick
@given(size=st.integers(2, 7), seed=st.integers(0, 2**32), stale=st.booleans(), spurious=st.sampled_from([0.0, 0.3]))
def test_every_step_follows_the_rules(size: int, seed: int, stale: bool, spurious: float) -> None:
    options: Any = {"stale_observation": stale, "spurious_oversight_probability": spurious}
    env = OversightGridworld(6, size, horizon=5, oversight_probability=0.5, seed=seed, **options)
    actions = torch.Generator().manual_seed(seed)
    for _ in range(12):
        action = torch.randint(4, (6,), generator=actions)
        places, overseen, age = env.places.tolist(), env.overseen.tolist(), env.age.tolist()
        outcome, seen = env.step(action)
        for i in range(6):
            agent, diamond, ghost = places[i]
            row, column = (
                min(max(x + dx, 0), size - 1) for x, dx in zip(divmod(agent, size), MOVES[int(action[i])], strict=True)
            )
            here = row * size + column
            over = Outcome.TIME_OUT if age[i] + 1 == 5 else Outcome.NONE
            expected = {diamond: Outcome.DIAMOND, ghost: Outcome.GHOST}.get(here, over)
            assert outcome[i] == expected
            assert seen[i] == (expected in (Outcome.DIAMOND, Outcome.GHOST) and overseen[i][here])
            assert len(set(env.places[i].tolist())) == 3
            if expected is Outcome.NONE:
                assert env.places[i].tolist() == [here, diamond, ghost]
                assert env.overseen[i].tolist() == overseen[i]
                assert env.age[i] == age[i] + 1
            else:
                assert env.age[i] == 0
            if expected is Outcome.NONE or not stale:
                maps = env.observation[i].view(4, -1)
                assert maps[:3].argmax(1).tolist() == env.places[i].tolist()
                assert maps[:3].sum() == 3
                assert torch.equal(maps[3], env.overseen[i].float())
            else:  # the last one of the episode that is over
                assert env.observation[i].view(4, -1)[:3].argmax(1).tolist() == [here, diamond, ghost]


def test_an_episode_has_as_many_steps_as_the_horizon() -> None:
    env = OversightGridworld(1, horizon=32)
    env.reset(torch.tensor([0, 23, 24]))
    outcomes = [int(env.step(torch.tensor([0])).outcome) for _ in range(64)]  # up, into the wall or along it
    assert outcomes[:31] == [0] * 31
    assert outcomes[31] == Outcome.TIME_OUT


@pytest.mark.parametrize(("probability", "spurious"), [(0.0, 0.0), (0.1, 0), (0.3, 0.05), (1, 0.0)])
def test_oversight_is_as_frequent_as_it_should_be(probability: float, spurious: float) -> None:
    env = OversightGridworld(20_000, oversight_probability=probability, spurious_oversight_probability=spurious, seed=3)
    reached = env.overseen.gather(1, env.places[:, 1:]).float()
    others = (env.overseen.sum(1) - reached.sum(1)).sum() / (23 * env.num_envs)
    bound = 4 * (0.25 / env.num_envs) ** 0.5
    assert reached.mean(0).tolist() == pytest.approx([probability] * 2, abs=bound)
    assert others.item() == pytest.approx(spurious, abs=bound)
    both = reached.prod(1).mean().item()
    assert both == pytest.approx(probability**2, abs=bound)  # one by one
    env.reset(torch.tensor([12, 11, 24]))
    for _ in range(2):  # the first episodes end at once, and those drawn in their place are overseen as often
        outcome, seen = env.step(toward(env, 1))
        found = outcome == Outcome.DIAMOND
        assert seen[found].float().mean().item() == pytest.approx(probability, abs=8 * bound)


def test_placements_are_uniform() -> None:
    places = OversightGridworld(60_000, size=3, seed=1).places
    counts = torch.unique(places, dim=0, return_counts=True)[1]
    assert len(counts) == 9 * 8 * 7
    assert counts.float().std() < 2 * (60_000 / len(counts)) ** 0.5


def test_the_same_seed_gives_the_same_episodes_and_a_state_goes_on() -> None:
    def play(env: OversightGridworld, steps: int) -> list[Tensor]:
        return [torch.cat([env.observation, env.step(toward(env, 2)).outcome.unsqueeze(1)], 1) for _ in range(steps)]

    first, second = OversightGridworld(8, seed=5), OversightGridworld(8, seed=5)
    assert all(map(torch.equal, play(first, 20), play(second, 20)))
    other = OversightGridworld(8, seed=6)
    other.load_state_dict(first.state_dict())
    assert all(map(torch.equal, play(other, 20), play(second, 20)))
    with pytest.raises(ValueError, match="the state of 3 grids"):
        OversightGridworld(3).load_state_dict(first.state_dict())


def test_a_picture_shows_where_things_are() -> None:
    env = OversightGridworld(2, size=3, oversight_probability=1.0)
    env.reset(torch.tensor([0, 4, 8]))
    picture = env.render(1)
    assert picture.shape == (120, 120, 3)
    cells = picture.view(3, 40, 3, 40, 3).transpose(1, 2).reshape(9, -1, 3)
    shown = [
        {name for name, colour in COLOURS.items() if (cell == torch.tensor(colour)).all(-1).sum() > 50}
        for cell in cells
    ]
    assert shown[0] == {"agent"}
    assert shown[4] == {"diamond", "oversight"}
    assert shown[8] == {"ghost", "oversight"}
    assert not set().union(*(shown[cell] for cell in (1, 2, 3, 5, 6, 7)))


def test_arrows_are_as_long_as_moves_are_probable_and_dots_show_the_way() -> None:
    moves = torch.tensor([[0.0, 0.3, 0.0, 0.7]] * 4)  # down and right
    picture = draw_grid(2, None, 1, 2, moves=moves)
    grey = (picture == torch.tensor((120, 120, 126))).all(-1)
    tops, lefts = grey[:40, :40].nonzero().T
    assert 0.3 < (tops.max() - 20) / (lefts.max() - 20) < 0.8
    assert tops.min() >= 14
    assert not grey[:40, 40:].any()  # the diamond's cell
    assert not grey[40:, :40].any()  # the ghost's cell
    dots = draw_grid(2, None, 1, 2, trail=[3])
    assert (dots[59:61, 59:61] == torch.tensor((60, 60, 66))).all()


@pytest.mark.parametrize("wrong", [{"num_envs": 0}, {"size": 1}, {"horizon": 0}, {"oversight_probability": 1.5}])
def test_sizes_and_probabilities_are_checked(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        OversightGridworld(**{"num_envs": 1, **wrong})
